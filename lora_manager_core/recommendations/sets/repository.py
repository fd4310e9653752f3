"""The queries of sets: sketches and profiles of adapters, and the weights they were used at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import func, select

from lora_manager_core.db.models import (
    Adapter,
    GenerationRun,
    RecommendationSession,
    RunAdapter,
    WeightSketch,
)
from lora_manager_core.db.unit_of_work import ReadSession

#: Rows listed in one statement (SQLite allows 32,766 parameters).
_CHUNK = 1000
#: So many of the last uses of an adapter say at what weight it is used.
_LAST_USES = 50


@dataclass(frozen=True, slots=True)
class SketchRow:
    """What is known of one adapter's weights; `sketch` only if it is of the present file."""

    adapter_id: str
    sketch: bytes | None
    norm: float | None
    approximate: bool
    problem: str | None


class SetRows:
    """Reads what sets are judged and made by."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def sketches(self, adapter_ids: Collection[str]) -> dict[str, SketchRow]:
        """The sketches of these adapters, for those whose present file was looked at."""
        w, a = WeightSketch, Adapter
        query = select(w.adapter_id, w.sketch, w.norm, w.approximate, w.problem).join(
            a,
            (a.id == w.adapter_id)
            & (a.file_size == w.file_size)
            & (a.file_mtime_ns == w.file_mtime_ns),
        )
        return {
            row[0]: SketchRow(*row)
            for chunk in _chunks(adapter_ids)
            for row in self._session.execute(query.where(w.adapter_id.in_(chunk)))
        }

    def profiles(self, adapter_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """`weights.profile.Profile` as JSON, where there is one."""
        query = select(WeightSketch.adapter_id, WeightSketch.profile)
        return {
            row[0]: row[1]
            for chunk in _chunks(adapter_ids)
            for row in self._session.execute(query.where(WeightSketch.adapter_id.in_(chunk)))
            if row[1] is not None
        }

    def usual_weights(self, adapter_ids: Sequence[str]) -> dict[str, tuple[float, int]]:
        """Adapter → the median of its weights in its last runs, and in how many."""
        place = (
            func.row_number()
            .over(
                partition_by=RunAdapter.adapter_id,
                order_by=(GenerationRun.finished_at.desc(), GenerationRun.id.desc()),
            )
            .label("place")
        )
        uses = (
            select(RunAdapter.adapter_id, RunAdapter.weight, place)
            .join(GenerationRun, GenerationRun.id == RunAdapter.run_id)
            .where(RunAdapter.adapter_id.in_(adapter_ids))
            .subquery()
        )
        found: dict[str, list[float]] = defaultdict(list)
        last = select(uses.c.adapter_id, uses.c.weight).where(uses.c.place <= _LAST_USES)
        for adapter_id, weight in self._session.execute(last):
            found[adapter_id].append(weight)
        return {i: (median(weights), len(weights)) for i, weights in found.items()}

    def session(self, session_id: str, kind: str) -> RecommendationSession | None:
        """The session of that id and kind."""
        s = RecommendationSession
        query = select(s).where(s.id == session_id, s.kind == kind)
        return self._session.scalars(query).first()


def _chunks(ids: Collection[str]) -> Iterator[list[str]]:
    listed = list(ids)
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]
