"""From the parts of a score to the list: family and taste are added, near-duplicates spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_manager_core.common.base_labels import SDXL_FAMILIES
from lora_manager_core.recommendations.answers.diversity import diversified
from lora_manager_core.recommendations.answers.parts import Flags, Parts, Scores, best_rows
from lora_manager_core.recommendations.answers.weights import ScoreWeights
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot
from lora_manager_core.recommendations.taste.scores import TasteScores

#: So many times the asked number are looked at when near-duplicates are to come later.
_POOL = 4
_LEAST_POOL = 40


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The rows of an answer in their order, and their scores `(n,)`."""

    rows: Sequence[int]
    likeness: Scores
    final: Scores


def add_family(
    parts: Parts, snapshot: Snapshot, base_model: str | None, weights: ScoreWeights
) -> None:
    """A bonus for what was made for the very family that is asked for."""
    if base_model in SDXL_FAMILIES:
        labels, codes = snapshot.traits.labels, snapshot.traits.base_models
        same = np.array([label == base_model for label in labels], dtype=np.float32)
        parts.put("family", weights.family * same[codes])


def add_taste(parts: Parts, taste: TasteScores, weights: ScoreWeights) -> None:
    """What is known of one person's taste; without any, nothing."""
    sure = taste.n / (taste.n + weights.half_at)
    parts.put("preference", weights.preference * sure * taste.pref)
    parts.put("popularity", weights.popularity * taste.pop)


def rank(
    snapshot: Snapshot,
    parts: Parts,
    among: Flags,
    least: float | None,
    limit: int,
    relevance: float | None,
) -> Ranking:
    """The best rows `among` these; those with a likeness of `least` or below are left out.

    With `relevance`, near-duplicates of what stands above come later.
    """
    likeness, final = parts.likeness(), parts.final()
    if least is not None:
        among = among & (likeness > least)
    pool = limit if relevance is None else max(_POOL * limit, _LEAST_POOL)
    rows = best_rows(final, among, pool)
    if relevance is not None:
        rows = diversified(snapshot, rows, final, limit, relevance)
    return Ranking(rows.tolist(), likeness, final)
