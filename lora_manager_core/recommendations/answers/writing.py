"""One row of the catalogue as it is told in an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_manager_core.recommendations.answers.explanation import Details, explain, taste_sentence
from lora_manager_core.recommendations.answers.likeness import Likeness
from lora_manager_core.recommendations.answers.parts import Parts
from lora_manager_core.recommendations.answers.prompt_scores import PromptFit
from lora_manager_core.recommendations.answers.ranking import Ranking
from lora_manager_core.recommendations.answers.schemas import (
    Addend,
    LikedBecause,
    Recommendation,
)
from lora_manager_core.recommendations.catalogue.entry import Entry
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot
from lora_manager_core.recommendations.taste.scores import TasteScores

_OF_TASTE = ("preference", "popularity")
#: Row → cosine of texts, likeness of tags, likeness of weights and format; None: not measured.
Measured = Callable[[int], tuple[float | None, float | None, float | None]]


@dataclass(frozen=True, slots=True, eq=False)
class Writer:
    """Writes the items of one answer."""

    snapshot: Snapshot
    parts: Parts
    ranking: Ranking
    taste: TasteScores
    details: Details
    measured: Measured
    explains: bool

    def write(self, row: int) -> Recommendation:
        """One item; its addends come to its final score."""
        entry = self.snapshot.entries[row]
        because = self.taste.because(row) if self.taste.n else []
        said = [
            (
                name,
                taste_sentence(name, value, because)
                if name in _OF_TASTE
                else self.details(row, name),
                value,
            )
            for name, value in self.parts.of(row)
        ]
        values = {name: value for name, _, value in said}
        semantic, artistic, technical = self.measured(row)
        return Recommendation(
            lora_id=entry.id,
            lora_name=entry.name,
            lora_description=entry.description,
            similarity_score=float(self.ranking.likeness[row]),
            final_score=float(self.ranking.final[row]),
            explanation=explain(said) if self.explains else None,
            semantic_similarity=semantic,
            artistic_similarity=artistic,
            technical_similarity=technical,
            quality_boost=values.get("preference", 0.0) if self.taste.n else None,
            popularity_boost=values.get("popularity"),
            recency_boost=None,
            addends=[Addend(name=name, value=value, detail=text) for name, text, value in said],
            because=[
                LikedBecause(
                    lora_id=reason.adapter_id,
                    lora_name=reason.name,
                    kind=reason.kind,
                    share=reason.share,
                )
                for reason in because
            ],
            metadata=_metadata(entry),
        )


def measured_for_prompt(fit: PromptFit) -> Measured:
    """Cosines with the part of the prompt that fits best."""
    return lambda row: (
        float(fit.text[row]) if fit.text_known[row] else None,
        float(fit.tags[row]) if fit.tags_known[row] else None,
        None,
    )


def measured_of_likeness(likeness: Likeness) -> Measured:
    """The three likenesses to the asked adapter."""
    return lambda row: (
        float(likeness.text[row]) if likeness.text_known[row] else None,
        float(likeness.tags[row]) if likeness.tags_known[row] else None,
        float(likeness.technical[row]) if likeness.technical_known[row] else None,
    )


def nothing_measured(row: int) -> tuple[None, None, None]:
    """For what compares neither."""
    return None, None, None


def _metadata(entry: Entry) -> dict[str, Any]:
    """What a list shows of an adapter, and what using it takes."""
    return {
        "version": entry.version,
        "base_model": entry.base_model,
        "network_type": entry.network_type,
        "tags": list(entry.tags),
        "triggers": list(entry.triggers),
        "weight": entry.weight,
        "weight_min": entry.weight_min,
        "weight_max": entry.weight_max,
        "active": entry.active,
        "favorite": entry.favorite,
        "rating": entry.rating,
        "nsfw_level": entry.nsfw_level,
    }
