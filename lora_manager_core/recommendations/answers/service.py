"""Answers which adapters go with a prompt, are like another one, or have a trigger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lora_manager_core.common.base_labels import normalise_label
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.base import Mode
from lora_manager_core.embeddings.prompts import Segments, segments, words_of
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.errors import AdapterNotFound, EmbeddingUnavailable, InvalidRequest
from lora_manager_core.recommendations.answers.queries import QueryVectors
from lora_manager_core.recommendations.answers.schemas import (
    ForPromptRequest,
    RecommendationAnswer,
    SimilarQuery,
    TriggerQuery,
)
from lora_manager_core.recommendations.answers.times import AnswerTimes
from lora_manager_core.recommendations.answers.weights import WEIGHTS, ScoreWeights
from lora_manager_core.recommendations.answers.wordings import with_wordings
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.taste.scores import Taste, TasteScores
from lora_manager_core.recommendations.taste.sessions import SessionLog
from lora_manager_core.recommendations.vectors.sketch_repository import SketchStore

if TYPE_CHECKING:
    from lora_manager_core.recommendations.answers.candidates import Candidates
    from lora_manager_core.recommendations.answers.explanation import Details
    from lora_manager_core.recommendations.answers.parts import Parts, Scores
    from lora_manager_core.recommendations.answers.writing import Measured
    from lora_manager_core.recommendations.catalogue.snapshot import Snapshot

#: Of a query without anything specific so much is compared as it stands.
_LONGEST_PART = 300


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked, for the answer and the log."""

    kind: str
    started: float
    user: str
    limit: int
    query: str | None = None
    target_id: str | None = None
    diversify: bool = False
    explain: bool = True


class RecommendationService:
    """One method per question; `user` is whose taste counts, empty where there are no users.

    `loaded_base_model` gives the base model of the loaded checkpoint, or None if unknown.
    """

    def __init__(
        self,
        database: Database,
        index: CatalogueIndex,
        tiers: TextTiers,
        taste: Taste,
        sessions: SessionLog,
        loaded_base_model: Callable[[], str | None],
        times: AnswerTimes,
        queries: QueryVectors,
        weights: ScoreWeights = WEIGHTS,
    ) -> None:
        self._database = database
        self._index = index
        self._tiers = tiers
        self._taste = taste
        self._sessions = sessions
        self._loaded_base_model = loaded_base_model
        self._times = times
        self._queries = queries
        self._weights = weights

    def for_prompt(self, request: ForPromptRequest, user: str = "") -> RecommendationAnswer:
        """Adapters that fit a prompt, best first.

        Raises:
            InvalidRequest: the prompt is empty.
        """
        from lora_manager_core.recommendations.answers.candidates import Candidates
        from lora_manager_core.recommendations.answers.explanation import prompt_details
        from lora_manager_core.recommendations.answers.prompt_scores import score_prompt
        from lora_manager_core.recommendations.answers.ranking import add_family
        from lora_manager_core.recommendations.answers.writing import measured_for_prompt

        question = _Question(
            kind="for_prompt",
            started=time.perf_counter(),
            user=user,
            limit=request.limit,
            query=request.prompt,
            diversify=request.diversify_results,
            explain=request.include_explanations,
        )
        if not request.prompt.strip():
            raise InvalidRequest("The prompt is empty; say what the picture is to show.")
        asked = _asked(request.prompt)
        snapshot = self._index.snapshot()
        wanted = request.technical_requirements
        base_model, source = self._base_model(wanted.base_model if wanted else None)
        candidates = Candidates(snapshot)
        candidates.without(request.active_loras, "active")
        candidates.fit(base_model)
        if wanted is not None:
            candidates.meet(wanted)
        style = (request.style_preference or "").strip() or None
        worded = with_wordings(asked, snapshot.words)
        vectors, style_vector, problem = self._vectors(snapshot, worded, style)
        fit = score_prompt(snapshot, worded, vectors, style_vector, candidates.rows, self._weights)
        add_family(fit.parts, snapshot, base_model, self._weights)
        compared = vectors is not None
        hints = [problem, _none_left(snapshot, candidates)]
        if not asked.parts:
            hints.append("The prompt has no words to look for; describe what the picture shows.")
        config = {
            "base_model": base_model,
            "base_model_from": source,
            "parts": asked.parts,
            "style_preference": style,
            "model": snapshot.key if compared else None,
            "without_text_vector": _lacking(snapshot, candidates) if compared else None,
        }
        return self._answer(
            question,
            snapshot,
            candidates,
            fit.parts,
            prompt_details(snapshot, fit),
            measured_for_prompt(fit),
            mode=snapshot.embedder.mode if compared and snapshot.embedder else "lexical",
            hints=hints,
            config=config,
            # By vectors everything is a little like anything; by words a 0 is a stranger.
            least=None if compared and asked.parts else 0.0,
        )

    def similar(self, lora_id: str, asked: SimilarQuery, user: str = "") -> RecommendationAnswer:
        """Adapters like one adapter, most alike first.

        Raises:
            AdapterNotFound: there is no such adapter.
            InvalidRequest: all weights are 0.
        """
        from lora_manager_core.recommendations.answers.candidates import Candidates
        from lora_manager_core.recommendations.answers.explanation import likeness_details
        from lora_manager_core.recommendations.answers.likeness import compare
        from lora_manager_core.recommendations.answers.writing import measured_of_likeness

        question = _Question(
            kind="similar",
            started=time.perf_counter(),
            user=user,
            limit=asked.limit,
            target_id=lora_id,
            diversify=asked.diversify_results,
        )
        if not (asked.weight_semantic or asked.weight_artistic or asked.weight_technical):
            raise InvalidRequest(
                "All three weights are 0, so nothing would be compared; raise one of them."
            )
        snapshot = self._index.snapshot()
        row = snapshot.row_of.get(lora_id)
        if row is None:
            raise AdapterNotFound(f"There is no adapter {lora_id}.", unknown_ids=[lora_id])
        entry = snapshot.entries[row]
        candidates = Candidates(snapshot)
        candidates.without([lora_id], "itself")
        candidates.fit(entry.base_model)
        likeness = compare(snapshot, row, asked, self._weights)
        hints = [_none_left(snapshot, candidates)]
        if likeness.by_words and snapshot.embedder is not None:
            hints.append(
                f"The text of “{entry.name}” has no vector yet (or no words), so texts are "
                "compared by words."
            )
        if "weights" not in likeness.counted and asked.weight_technical:
            with self._database.read() as session:
                sketch = SketchStore(session).get(lora_id)
            why = (sketch.problem if sketch else None) or "they have not been looked at yet."
            hints.append(f"The weights of “{entry.name}” were not compared: {why}")
        if not likeness.counted:
            hints.append(f"Nothing is known of “{entry.name}” that could be compared.")
        by_vectors = snapshot.embedder is not None and not likeness.by_words
        return self._answer(
            question,
            snapshot,
            candidates,
            likeness.parts,
            likeness_details(snapshot, row, likeness),
            measured_of_likeness(likeness),
            mode=snapshot.embedder.mode if by_vectors and snapshot.embedder else "lexical",
            hints=hints,
            config={
                "base_model": entry.base_model,
                "base_model_from": "target" if entry.base_model else None,
                "compared": likeness.counted,
                "similarity_threshold": asked.similarity_threshold,
                "model": snapshot.key if by_vectors else None,
            },
            least=asked.similarity_threshold,
        )

    def by_trigger(self, asked: TriggerQuery, user: str = "") -> RecommendationAnswer:
        """Adapters with that trigger: the very words first, then parts and spellings of them.

        Raises:
            InvalidRequest: the query is empty.
        """
        from lora_manager_core.recommendations.answers.candidates import Candidates
        from lora_manager_core.recommendations.answers.explanation import trigger_details
        from lora_manager_core.recommendations.answers.parts import Parts
        from lora_manager_core.recommendations.answers.trigger_search import find_triggers
        from lora_manager_core.recommendations.answers.writing import nothing_measured

        query = asked.trigger_query.strip()
        question = _Question(
            kind="by_trigger",
            started=time.perf_counter(),
            user=user,
            limit=asked.limit,
            query=query,
        )
        if not query:
            raise InvalidRequest("`trigger_query` is empty; give a trigger word or a part of one.")
        snapshot = self._index.snapshot()
        found = find_triggers(snapshot, query)
        parts = Parts(len(snapshot.entries))
        parts.put_rows("trigger", {row: match[0] for row, match in found.items()})
        candidates = Candidates(snapshot)
        return self._answer(
            question,
            snapshot,
            candidates,
            parts,
            trigger_details(found),
            nothing_measured,
            mode="lexical",
            hints=[_none_left(snapshot, candidates)],
            config={"trigger_query": query},
            least=0.0,
        )

    def _answer(
        self,
        question: _Question,
        snapshot: Snapshot,
        candidates: Candidates,
        parts: Parts,
        details: Details,
        measured: Measured,
        mode: Mode,
        hints: list[str | None],
        config: Mapping[str, Any],
        least: float | None,
    ) -> RecommendationAnswer:
        from lora_manager_core.recommendations.answers.ranking import add_taste, rank
        from lora_manager_core.recommendations.answers.writing import Writer

        weights = self._weights
        taste: TasteScores = self._taste.scores(snapshot, question.user, snapshot.key)
        add_taste(parts, taste, weights)
        relevance = weights.relevance if question.diversify else None
        ranking = rank(snapshot, parts, candidates.rows, least, question.limit, relevance)
        writer = Writer(snapshot, parts, ranking, taste, details, measured, question.explain)
        items = [writer.write(row) for row in ranking.rows]
        duration_ms = (time.perf_counter() - question.started) * 1000
        self._times.add(question.kind, duration_ms)
        shown = [(item.lora_id, item.final_score) for item in items]
        session_id = self._sessions.open(
            question.kind, question.query, question.target_id, mode, shown, duration_ms
        )
        if mode != "semantic":
            hints = [*hints, self._tiers.hint()]
        return RecommendationAnswer(
            target_lora_id=question.target_id,
            prompt=question.query,
            session_id=session_id,
            mode=mode,
            hint=" ".join(hint for hint in hints if hint) or None,
            recommendations=items,
            total_candidates=int(candidates.rows.sum()),
            processing_time_ms=duration_ms,
            recommendation_config={
                **config,
                "mode": mode,
                "left_out": dict(candidates.left_out),
                "diversified": question.diversify,
                "signs_of_taste": taste.n,
                "score_weights": asdict(weights),
            },
            generated_at=utc_now(),
        )

    def _base_model(self, asked: str | None) -> tuple[str | None, str | None]:
        """The base model that counts, and who says so."""
        if asked is not None and asked.strip():
            return normalise_label(asked) or asked.strip(), "request"
        loaded = self._loaded_base_model()
        return loaded, "checkpoint" if loaded else None

    def _vectors(
        self, snapshot: Snapshot, asked: Segments, style: str | None
    ) -> tuple[Scores | None, Scores | str | None, str | None]:
        """Vectors of the parts and of the style; the words of the style, and why, without them."""
        texts = [*asked.parts, *([style] if style else [])]
        if snapshot.embedder is None or not texts:
            return None, style, None
        try:
            vectors = self._queries.encode(snapshot.embedder, texts)
        except EmbeddingUnavailable as error:
            return None, style, f"Compared by words alone: {error.detail}"
        return vectors[: len(asked.parts)], vectors[-1] if style else None, None


def _asked(prompt: str) -> Segments:
    """The parts of a prompt; one that says only what all prompts say is taken as it stands."""
    asked = segments(prompt)
    if asked.parts:
        return asked
    words = words_of(prompt[:_LONGEST_PART])
    return Segments([" ".join(words)], words) if words else asked


def _none_left(snapshot: Snapshot, candidates: Candidates) -> str | None:
    if not snapshot.entries:
        return "The library is empty; scan a folder with LoRAs first."
    if not candidates.rows.any():
        reasons = ", ".join(f"{count} {why}" for why, count in candidates.left_out.items())
        return f"No adapter is left to recommend ({reasons})."
    return None


def _lacking(snapshot: Snapshot, candidates: Candidates) -> int:
    known = snapshot.text_known | snapshot.tags_known
    return int((candidates.rows & ~known).sum())
