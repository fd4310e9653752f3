"""The queries of the dashboard on adapters and jobs; those on usage are in `usage_repository`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, not_, select
from sqlalchemy.orm import InstrumentedAttribute

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.db.models import Adapter, GenerationRun, Job, ResultImage, RunAdapter
from lora_manager_core.db.unit_of_work import ReadSession


@dataclass(frozen=True, slots=True)
class CatalogueCounts:
    """Numbers of adapters, and `file_bytes`, the sum of the sizes of their files."""

    total: int
    active: int
    missing: int
    unreadable: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Before:
    """Where a page of rows, newest first, goes on: at those older than the time `at`.

    Of the rows of that very time those before `row_id` belong to it too, or with `ties` all.
    """

    at: str
    row_id: str | None = None
    ties: bool = False


class DashboardRecords:
    """Adapters and jobs as the dashboard looks at them."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def counts(self) -> CatalogueCounts:
        """Count the whole catalogue; this walks its table."""
        query = select(
            func.count(),
            func.count().filter(Adapter.active.is_(True)),
            func.count().filter(Adapter.file_state == "missing"),
            func.count(Adapter.file_problem),
            func.coalesce(func.sum(Adapter.file_size), 0),
        )
        total, active, missing, unreadable, size = self._session.execute(query).one()
        return CatalogueCounts(total, active, missing, unreadable, int(size))

    def state(self) -> tuple[int, int]:
        """Two numbers of which one rises with each change of the catalogue and each run."""
        newest_run = self._session.scalar(select(func.max(GenerationRun.id)))
        return Adapters(self._session).revision(), newest_run or 0

    def count_created_since(self, since: str) -> int:
        """How many adapters were created at that time or later."""
        query = select(func.count()).where(Adapter.created_at >= since)
        return self._session.scalar(query) or 0

    def featured(self, used_since: str, limit: int) -> list[int]:
        """Row numbers by the rule of `service.FEATURED_RULE`."""
        uses = (
            select(RunAdapter.adapter_id, func.count().label("runs"))
            .select_from(GenerationRun)
            .join(RunAdapter, RunAdapter.run_id == GenerationRun.id)
            .where(GenerationRun.finished_at >= used_since)
            .group_by(RunAdapter.adapter_id)
            .subquery()
        )
        query = (
            select(Adapter.pk)
            .outerjoin(uses, uses.c.adapter_id == Adapter.id)
            .where(Adapter.file_state != "missing")
            .order_by(
                Adapter.favorite.desc(),
                func.coalesce(Adapter.rating, 0).desc(),
                func.coalesce(uses.c.runs, 0).desc(),
                Adapter.created_at.desc(),
                Adapter.pk,
            )
            .limit(limit)
        )
        return list(self._session.scalars(query))

    def ended_jobs(self, before: Before | None, limit: int) -> list[Job]:
        """Jobs that have ended, the last one first."""
        return list(
            self._session.scalars(
                select(Job)
                .where(Job.finished_at.is_not(None), *_before(Job.finished_at, Job.id, before))
                .order_by(Job.finished_at.desc(), Job.id.desc())
                .limit(limit)
            )
        )

    def added_adapters(self, before: Before | None, limit: int) -> Sequence[Any]:
        """`id, name, origin, at` of adapters by their creation, the last one first."""
        return self._session.execute(
            select(Adapter.id, Adapter.name, Adapter.origin, Adapter.created_at.label("at"))
            .where(*_before(Adapter.created_at, Adapter.id, before))
            .order_by(Adapter.created_at.desc(), Adapter.id.desc())
            .limit(limit)
        ).all()

    def changed_adapters(self, before: Before | None, limit: int) -> Sequence[Any]:
        """`id, name, edited_fields, at` of adapters by their last change, the last one first."""
        return self._session.execute(
            select(Adapter.id, Adapter.name, Adapter.edited_fields, Adapter.updated_at.label("at"))
            .where(
                Adapter.updated_at > Adapter.created_at,
                *_before(Adapter.updated_at, Adapter.id, before),
            )
            .order_by(Adapter.updated_at.desc(), Adapter.id.desc())
            .limit(limit)
        ).all()

    def first_pictures(self, job_ids: Sequence[str]) -> dict[str, int]:
        """Job → number of its first picture, for those of the jobs that still have one."""
        query = (
            select(ResultImage.job_id, func.min(ResultImage.number))
            .where(ResultImage.job_id.in_(job_ids))
            .group_by(ResultImage.job_id)
        )
        return {row[0]: row[1] for row in self._session.execute(query)}


def _before(
    time: InstrumentedAttribute[Any], row_id: InstrumentedAttribute[str], before: Before | None
) -> list[ColumnElement[bool]]:
    if before is None:
        return []
    if before.ties:
        return [time <= before.at]
    if before.row_id is None:
        return [time < before.at]
    # One plain bound on the time, so that the index is used.
    return [time <= before.at, not_(and_(time == before.at, row_id >= before.row_id))]
