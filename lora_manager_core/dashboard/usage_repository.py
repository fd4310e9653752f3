"""The queries on generations that really ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import (
    ColumnElement,
    Float,
    String,
    Subquery,
    cast,
    false,
    func,
    null,
    or_,
    select,
)

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
    """What one group had: `weight` is the mean strength, for adapters."""

    key: str | None
    name: str | None
    adapter_id: str | None
    runs: int
    images: int
    weight: float | None


class UsageRecords:
    """Runs of one session, grouped by adapter, by base model or by checkpoint.

    A run counts once for each group of which it used something. An adapter is known by its id, or
    where its record is gone, by the name it had.
    """

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def by_source(self) -> dict[str, RunSums]:
        """Where a run came from → the sums of all runs there ever were."""
        return self._sums(GenerationRun.source.expression, "")

    def by_stretch(self, since: str, digits: int) -> dict[str, RunSums]:
        """Start of the time of their end (10 digits: its day, 13: its hour) → sums of runs."""
        return self._sums(func.substr(GenerationRun.finished_at, 1, digits), since)

    def count_groups(self, since: str, by: GroupBy) -> int:
        """How many groups there are, the unknown one included."""
        groups = select(_mentions(since, by).c.key).distinct().subquery()
        return self._session.scalar(select(func.count()).select_from(groups)) or 0

    def top_groups(self, since: str, by: GroupBy, limit: int) -> list[GroupSums]:
        """The groups with the most runs, then the most pictures."""
        used = _mentions(since, by)
        runs, images = func.count(), func.sum(used.c.images)
        query = (
            select(
                used.c.key,
                func.min(used.c.name),
                func.min(used.c.adapter_id),
                runs,
                images,
                func.avg(used.c.weight),
            )
            .group_by(used.c.key)
            .order_by(
                runs.desc(),
                images.desc(),
                used.c.key.is_(None),  # the databases differ on where null comes
                func.min(used.c.name),
                used.c.key,
            )
            .limit(limit)
        )
        groups = [GroupSums(*row) for row in self._session.execute(query)]
        ids = [group.adapter_id for group in groups if group.adapter_id]
        found = select(Adapter.id, Adapter.name).where(Adapter.id.in_(ids))
        names = {row[0]: row[1] for row in self._session.execute(found)}
        return [replace(g, name=names.get(g.adapter_id or "", g.name)) for g in groups]

    def runs_by_stretch(
        self, since: str, by: GroupBy, digits: int, keys: Sequence[str | None]
    ) -> list[tuple[str, str | None, int]]:
        """Start of the time, group and number of runs, of these groups."""
        used = _mentions(since, by)
        stretch = func.substr(used.c.finished_at, 1, digits).label("stretch")
        query = (
            select(stretch, used.c.key, func.count())
            .where(
                or_(
                    used.c.key.in_([key for key in keys if key is not None]),
                    used.c.key.is_(None) if None in keys else false(),
                )
            )
            .group_by(stretch, used.c.key)
        )
        return [(start, key, runs) for start, key, runs in self._session.execute(query)]

    def _sums(self, key: ColumnElement[str], since: str) -> dict[str, RunSums]:
        query = (
            select(
                key,
                func.count(),
                func.sum(GenerationRun.images),
                func.count(GenerationRun.duration_s),
                func.sum(GenerationRun.duration_s),
            )
            .where(GenerationRun.finished_at >= since)
            .group_by(key)
        )
        return {
            where: RunSums(runs, images, timed, duration_s or 0.0)
            for where, runs, images, timed, duration_s in self._session.execute(query)
        }


def _mentions(since: str, by: GroupBy) -> Subquery:
    """One row for each run and group: `key, name, adapter_id, weight, images, finished_at`."""
    run = (GenerationRun.images.label("images"), GenerationRun.finished_at.label("finished_at"))
    nothing = cast(null(), String).label("adapter_id"), cast(null(), Float).label("weight")
    if by == "model":
        model = GenerationRun.model
        return (
            select(model.label("key"), model.label("name"), *nothing, *run)
            .where(GenerationRun.finished_at >= since)
            .subquery()
        )
    adapters = (
        select(
            func.coalesce(RunAdapter.adapter_id, RunAdapter.name).label("key"),
            RunAdapter.name.label("name"),
            RunAdapter.adapter_id.label("adapter_id"),
            RunAdapter.weight.label("weight"),
            *run,
        )
        .select_from(GenerationRun)
        .join(RunAdapter, RunAdapter.run_id == GenerationRun.id)
        .where(GenerationRun.finished_at >= since)
    )
    if by == "adapter":
        return adapters.subquery()
    base_model = Adapter.base_model
    return (
        select(base_model.label("key"), base_model.label("name"), *nothing, *run)
        .select_from(GenerationRun)
        .join(RunAdapter, RunAdapter.run_id == GenerationRun.id)
        .outerjoin(Adapter, Adapter.id == RunAdapter.adapter_id)
        .where(GenerationRun.finished_at >= since)
        .group_by(
            GenerationRun.id, GenerationRun.images, GenerationRun.finished_at, Adapter.base_model
        )
        .subquery()
    )
