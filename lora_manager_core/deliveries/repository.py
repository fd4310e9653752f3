"""The queries on deliveries: the jobs whose kind belongs to a mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import ReadSession


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """Which deliveries; no status means any, times are texts of `common.clock`."""

    kinds: tuple[str, ...]
    statuses: tuple[str, ...] = ()
    created_from: str | None = None
    created_until: str | None = None


class Deliveries:
    """Deliveries of one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def page(self, query: DeliveryQuery, limit: int, offset: int) -> Sequence[Job]:
        """Deliveries, newest first."""
        # `coalesce` keeps SQLite from collecting and sorting all jobs of these kinds, when it has
        # an index in the order wanted: of 100,000 jobs the first page takes 0.3 ms instead of 125.
        kind = Job.kind if len(query.kinds) == 1 else func.coalesce(Job.kind, "")
        jobs = (
            select(Job)
            .where(kind.in_(query.kinds), *_filters(query))
            .order_by(Job.created_at.desc(), Job.id.desc())
        )
        return self._session.scalars(jobs.limit(limit).offset(offset)).all()

    def count(self, query: DeliveryQuery) -> int:
        """How many there are."""
        counted = select(func.count()).select_from(Job)
        counted = counted.where(Job.kind.in_(query.kinds), *_filters(query))
        return self._session.scalar(counted) or 0


def _filters(query: DeliveryQuery) -> list[ColumnElement[bool]]:
    clauses: list[ColumnElement[bool]] = []
    if query.statuses:
        clauses.append(Job.status.in_(query.statuses))
    if query.created_from is not None:
        clauses.append(Job.created_at >= query.created_from)
    if query.created_until is not None:
        clauses.append(Job.created_at < query.created_until)
    return clauses
