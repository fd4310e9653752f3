"""How recommendations stand: figures that were measured, what is degraded, and the index anew."""

from __future__ import annotations

import importlib.util
import time

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.recommendations.answers.queries import QueryVectors
from lora_manager_core.recommendations.answers.repository import log_counts
from lora_manager_core.recommendations.answers.status_schemas import (
    AnswerSpeed,
    IndexHealth,
    IndexRebuilt,
    ModelHealth,
    RecommendationHealth,
    RecommendationStats,
)
from lora_manager_core.recommendations.answers.times import AnswerTimes
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex

#: Extra → a module that comes with it.
_EXTRAS = {"semantic": "sentence_transformers", "faiss": "faiss"}
_GB = 1e9


class RecommendationStatus:
    """`times` and `queries` are those that the answers are measured by."""

    def __init__(
        self,
        database: Database,
        index: CatalogueIndex,
        tiers: TextTiers,
        times: AnswerTimes,
        queries: QueryVectors,
    ) -> None:
        self._database = database
        self._index = index
        self._tiers = tiers
        self._times = times
        self._queries = queries

    def rebuild(self, force: bool) -> IndexRebuilt:
        """Read the whole index anew if `force`; otherwise only what changed, as any question does.

        Nobody has to: every answer is made from the index as it is then.
        """
        started = time.perf_counter()
        was_fresh = self._index.state().is_fresh
        snapshot = self._index.rebuild() if force else self._index.snapshot()
        seconds = time.perf_counter() - started
        if not snapshot.entries:
            status, message = "empty", "There is nothing to index; scan a folder with LoRAs first."
        elif was_fresh and not force:
            status = "skipped"
            message = "The index follows every change by itself and was up to date."
        else:
            status = "rebuilt"
            message = "Done, though nobody has to: the index follows every change by itself."
        return IndexRebuilt.model_validate(
            {
                "status": status,
                "indexed_items": len(snapshot.entries),
                "index_size_bytes": snapshot.memory_bytes,
                "processing_time_seconds": seconds,
                "rebuilt_at": self._index.state().updated_at or utc_now(),
                "message": message,
            }
        )

    def stats(self) -> RecommendationStats:
        """The figures of this moment."""
        snapshot = self._index.snapshot()
        with self._database.read() as session:
            logged = log_counts(session)
        total = len(snapshot.entries)
        embedded = int((snapshot.text_known | snapshot.tags_known).sum())
        sketched = int(snapshot.sketches.known.sum())
        memory = sum(tier.state.memory_bytes for tier in self._tiers.states())
        return RecommendationStats(
            total_loras=total,
            loras_with_embeddings=embedded,
            embedding_coverage=embedded / total if total else None,
            loras_with_weight_sketches=sketched,
            weight_coverage=sketched / total if total else None,
            avg_recommendation_time_ms=self._times.mean_ms(),
            answers={
                kind: AnswerSpeed(count=count, p50_ms=p50, p95_ms=p95)
                for kind, (count, p50, p95) in self._times.percentiles().items()
            },
            cache_hit_rate=self._queries.hit_rate(),
            total_sessions=logged.sessions,
            user_preferences_count=logged.preferences,
            feedback_count=logged.feedback,
            model_memory_usage_gb=memory / _GB if memory else None,
            index_size_bytes=snapshot.memory_bytes,
            last_index_update=self._index.state().updated_at,
            mode=snapshot.embedder.mode if snapshot.embedder is not None else "lexical",
        )

    def health(self) -> RecommendationHealth:
        """What is not as good as it could be; loads nothing and brings nothing up to date."""
        index = self._index.state()
        models = self._tiers.states()
        mode = self._tiers.mode()
        reasons = [hint for hint in (self._tiers.hint(),) if hint]
        reasons += [
            tier.state.problem
            for tier in models
            if tier.state.status == "failed" and tier.state.problem
        ]
        if mode == "lexical" and not reasons:
            reasons.append("Texts are compared by their words alone.")
        if index.stale:
            reasons.append(
                f"{index.stale} vectors and sketches lack or are of an older state; "
                "GET /recommendations/embeddings tells how they are coming along."
            )
        return RecommendationHealth(
            status="degraded" if reasons else "healthy",
            reasons=list(dict.fromkeys(reasons)),
            mode=mode,
            extras={
                name: importlib.util.find_spec(module) is not None
                for name, module in _EXTRAS.items()
            },
            models=[
                ModelHealth(
                    mode=tier.mode,
                    model=tier.model,
                    status=tier.state.status,
                    problem=tier.state.problem,
                    memory_bytes=tier.state.memory_bytes,
                )
                for tier in models
            ],
            index=IndexHealth(
                fresh=index.is_fresh, last_update=index.updated_at, stale=index.stale
            ),
        )
