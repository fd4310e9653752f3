"""The queries on generations that really ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Float, cast, func, null, select

from lora_manager_core.db.models import Adapter, GenerationRun, RunAdapter
from lora_manager_core.db.unit_of_work import ReadSession

GroupBy = Literal["adapter", "base_model", "model"]


@dataclass(frozen=True, slots=True)
class RunSums:
    """Runs and pictures; `duration_s` sums the `timed` runs whose duration is known."""

    runs: int
    images: int
    timed: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class GroupSums:
    """What one group had in one stretch of time; `weight` is the mean strength, for adapters."""

    stretch: str
    key: str | None
    name: str | None
    adapter_id: str | None
    runs: int
    images: int
    weight: float | None


class UsageRecords:
    """Runs of one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def by_source(self) -> dict[str, RunSums]:
        """Where a run came from → the sums of all runs there ever were."""
        return {row[0]: RunSums(*row[1:]) for row in self._sums(GenerationRun.source, "")}

    def by_stretch(self, since: str, digits: int) -> dict[str, RunSums]:
        """Start of the time of their end (10 digits: its day, 13: its hour) → sums of runs."""
        stretch = func.substr(GenerationRun.finished_at, 1, digits)
        return {row[0]: RunSums(*row[1:]) for row in self._sums(stretch, since)}

    def by_group(self, since: str, digits: int, by: GroupBy) -> list[GroupSums]:
        """The same, apart by adapter, by its base model, or by checkpoint.

        A run counts once for each group that it used, however many of its adapters belong to it.
        """
        stretch = func.substr(GenerationRun.finished_at, 1, digits).label("stretch")
        if by == "model":
            return self._by_model(since, stretch)
        # An adapter whose record is gone is known by the name it had.
        key: ColumnElement[Any] = func.coalesce(RunAdapter.adapter_id, RunAdapter.name)
        name: ColumnElement[Any] = func.coalesce(Adapter.name, RunAdapter.name)
        one: ColumnElement[Any] = RunAdapter.adapter_id.expression
        weight: ColumnElement[Any] = RunAdapter.weight.expression
        if by == "base_model":
            key = name = Adapter.base_model.expression
            one, weight = null(), cast(null(), Float)
        used = (
            select(
                GenerationRun.id,
                stretch,
                GenerationRun.images,
                key.label("key"),
                func.min(name).label("name"),
                func.min(one).label("adapter_id"),
                func.avg(weight).label("weight"),
            )
            .join(RunAdapter, RunAdapter.run_id == GenerationRun.id)
            .outerjoin(Adapter, Adapter.id == RunAdapter.adapter_id)
            .where(GenerationRun.finished_at >= since)
            .group_by(GenerationRun.id, stretch, GenerationRun.images, key)
            .subquery()
        )
        query = select(
            used.c.stretch,
            used.c.key,
            func.min(used.c.name),
            func.min(used.c.adapter_id),
            func.count(),
            func.sum(used.c.images),
            func.avg(used.c.weight),
        ).group_by(used.c.stretch, used.c.key)
        return [GroupSums(*row) for row in self._session.execute(query)]

    def _by_model(self, since: str, stretch: ColumnElement[str]) -> list[GroupSums]:
        query = (
            select(stretch, GenerationRun.model, func.count(), func.sum(GenerationRun.images))
            .where(GenerationRun.finished_at >= since)
            .group_by(stretch, GenerationRun.model)
        )
        return [
            GroupSums(start, model, model, None, runs, images, None)
            for start, model, runs, images in self._session.execute(query)
        ]

    def _sums(self, key: Any, since: str) -> list[Any]:
        query = (
            select(
                key,
                func.count(),
                func.sum(GenerationRun.images),
                func.count(GenerationRun.duration_s),
                func.coalesce(func.sum(GenerationRun.duration_s), 0.0),
            )
            .where(GenerationRun.finished_at >= since)
            .group_by(key)
        )
        return list(self._session.execute(query).all())
