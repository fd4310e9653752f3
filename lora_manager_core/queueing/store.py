"""All queries on the `jobs` table. States move by compare-and-set: a second mover has no effect."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.engine import CursorResult

from lora_manager_core.common.clock import utc_after, utc_now
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession
from lora_manager_core.queueing.base import CANCELLED, FAILED, PENDING, RETRYING, RUNNING

#: How long a worker may be silent before its job counts as abandoned.
LEASE_S = 60.0
#: How often a job may be begun and abandoned. One that ends its process each time (out of memory)
#: would otherwise end it at every start.
_MOST_ATTEMPTS = 3


class JobStore:
    """Jobs of one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def get(self, job_id: str) -> Job | None:
        """The job, fresh from the database."""
        return self._session.get(Job, job_id, populate_existing=True)

    def list_by_status(self, statuses: Sequence[str], limit: int | None = None) -> list[Job]:
        """Jobs in one of these states, oldest first."""
        query = (
            select(Job)
            .where(Job.status.in_(statuses))
            .order_by(Job.created_at, Job.id)
            .limit(limit)
        )
        return list(self._session.scalars(query))

    def find_unfinished(self, kind: str) -> Job | None:
        """The oldest job of that kind that has not ended."""
        query = (
            select(Job)
            .where(Job.kind == kind, Job.status.in_((PENDING, RUNNING, RETRYING)))
            .order_by(Job.created_at)
            .limit(1)
        )
        return self._session.scalars(query).first()

    def newest(self, kind: str, status: str) -> Job | None:
        """The last job of that kind that ended so."""
        query = (
            select(Job)
            .where(Job.kind == kind, Job.status == status)
            .order_by(Job.finished_at.desc())
            .limit(1)
        )
        return self._session.scalars(query).first()


class JobWriter(JobStore):
    """Changes jobs; every change of state says from which state it may go."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._session: WriteSession = session

    def create(self, kind: str, lane: str, payload: Mapping[str, Any]) -> Job:
        """Add a pending job; it is queued by its service after the commit."""
        job = Job(
            id=str(uuid.uuid4()),
            kind=kind,
            lane=lane,
            status=PENDING,
            payload=dict(payload),
            created_at=utc_now(),
        )
        self._session.add(job)
        self._session.flush()
        return job

    def claim(self, job_id: str, owner: str) -> bool:
        """Take a pending job; False if it is not pending (any more)."""
        return self._set(
            (Job.id == job_id) & Job.status.in_((PENDING, RETRYING)) & ~Job.cancel_requested,
            status=RUNNING,
            started_at=utc_now(),
            attempts=Job.attempts + 1,
            lease_owner=owner,
            lease_until=utc_after(LEASE_S),
        )

    def keep(self, job_id: str, owner: str, **progress: Any) -> bool:
        """Renew the lease and store progress; False if the job is no longer this owner's."""
        return self._set(_held_by(job_id, owner), lease_until=utc_after(LEASE_S), **progress)

    def finish(
        self,
        job_id: str,
        owner: str,
        status: str,
        result: Mapping[str, Any] | None,
        error: Mapping[str, Any] | None,
    ) -> bool:
        """End a job that this owner runs; False if it is not its own (any more).

        A job that somebody cancelled can only end as cancelled: False for every other end.
        """
        allowed = _held_by(job_id, owner)
        if status != CANCELLED:
            allowed &= ~Job.cancel_requested
        return self._set(
            allowed,
            status=status,
            result=result,
            error=error,
            finished_at=utc_now(),
            lease_owner=None,
            lease_until=None,
            **({"progress": 1.0} if result is not None else {}),
        )

    def cancel_pending(self, job_id: str) -> bool:
        """End a job that never started; False if it runs or has ended."""
        return self._set(
            (Job.id == job_id) & Job.status.in_((PENDING, RETRYING)),
            status=CANCELLED,
            cancel_requested=True,
            finished_at=utc_now(),
        )

    def request_cancel(self, job_id: str) -> bool:
        """Mark a running job as to be stopped; False if it does not run."""
        return self._set((Job.id == job_id) & (Job.status == RUNNING), cancel_requested=True)

    def release(self, job_id: str, owner: str) -> bool:
        """Put a job nobody cancelled back into the queue; False if it is to end.

        It was not abandoned, so this attempt does not count.
        """
        return self._set(
            _held_by(job_id, owner) & ~Job.cancel_requested,
            status=RETRYING,
            attempts=Job.attempts - 1,
            lease_owner=None,
            lease_until=None,
        )

    def release_abandoned(self) -> list[Job]:
        """Give jobs whose lease has run out back to the queue; cancelled ones end.

        A job abandoned too often ends as failed.
        """
        abandoned = select(Job).where(Job.status == RUNNING, Job.lease_until < utc_now())
        released = []
        for job in self._session.scalars(abandoned):
            job.lease_owner = job.lease_until = None
            if job.cancel_requested:
                job.status, job.finished_at = CANCELLED, utc_now()
            elif job.attempts >= _MOST_ATTEMPTS:
                job.status, job.finished_at = FAILED, utc_now()
                job.error = {
                    "code": "job_abandoned",
                    "detail": f"The program ended {job.attempts} times while this job ran. "
                    "Its log may say why; a smaller picture or model needs less memory.",
                    "status": 500,
                }
            else:
                job.status = RETRYING
            released.append(job)
        self._session.flush()
        return released

    def _set(self, where: ColumnElement[bool], **values: Any) -> bool:
        result = self._session.execute(
            update(Job).where(where).values(**values).execution_options(synchronize_session=False)
        )
        assert isinstance(result, CursorResult)
        return bool(result.rowcount == 1)


def _held_by(job_id: str, owner: str) -> ColumnElement[bool]:
    return (Job.id == job_id) & (Job.status == RUNNING) & (Job.lease_owner == owner)
