"""All queries on jobs and their attempts.

States move by compare-and-set: a second mover has no effect.
"""

from __future__ import annotations

import statistics
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.engine import CursorResult

from lora_manager_core.common.clock import seconds_between, utc_after, utc_now
from lora_manager_core.db.models import Job, JobAttempt
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession
from lora_manager_core.queueing.base import (
    CANCELLED,
    FAILED,
    PENDING,
    RETRYING,
    RUNNING,
    SUCCEEDED,
    UNFINISHED,
)
from lora_manager_core.queueing.owner import is_dead

#: How long a worker may be silent before its job may count as abandoned.
LEASE_S = 40.0
#: How often a job may be begun and abandoned. One that ends its process each time (out of memory)
#: would otherwise end it at every start.
_MOST_ABANDONED = 3
#: No pause before another try is as long as this.
_LONGEST_WAIT_S = 600.0
#: Outcomes of attempts that are no end of their job.
RELEASED = "released"
ABANDONED = "abandoned"
#: Past jobs whose durations tell how fast a kind of job goes.
_PACE_OF = 20


class JobStore:
    """Jobs of one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def get(self, job_id: str) -> Job | None:
        """The job, fresh from the database."""
        return self._session.get(Job, job_id, populate_existing=True)

    def list_due(self) -> list[tuple[str, str]]:
        """Lane and id of every job that is to be begun now, oldest first."""
        query = (
            select(Job.lane, Job.id)
            .where(Job.status.in_((PENDING, RETRYING)), _is_due())
            .order_by(Job.created_at, Job.id)
        )
        return [(lane, job_id) for lane, job_id in self._session.execute(query)]

    def next_due_at(self) -> str | None:
        """When the next job that waits for another try is due."""
        query = select(func.min(Job.not_before)).where(
            Job.status == RETRYING, Job.not_before > utc_now()
        )
        return self._session.scalar(query)

    def list_abandoned(self) -> list[Job]:
        """Jobs that run nowhere any more: their process is dead, or silent for a whole lease."""
        now = utc_now()
        return [
            job
            for job in self._session.scalars(select(Job).where(Job.status == RUNNING))
            if (job.lease_until or "") < now or is_dead(job.lease_owner or "")
        ]

    def list_unfinished(self, kinds: Sequence[str], limit: int | None = None) -> list[Job]:
        """Jobs of these kinds that wait or run, oldest first."""
        query = (
            select(Job)
            .where(Job.status.in_(UNFINISHED), Job.kind.in_(kinds))
            .order_by(Job.created_at, Job.id)
            .limit(limit)
        )
        return list(self._session.scalars(query))

    def count_unfinished(self) -> dict[str, int]:
        """How many jobs wait and run, by state; states without a job are not among them."""
        query = select(Job.status, func.count()).where(Job.status.in_(UNFINISHED))
        rows = self._session.execute(query.group_by(Job.status))
        return {row[0]: row[1] for row in rows}

    def count_by_kind(self) -> list[tuple[str, str, int]]:
        """Kind, state and number of all jobs that are kept."""
        query = select(Job.kind, Job.status, func.count()).group_by(Job.kind, Job.status)
        return [(kind, status, count) for kind, status, count in self._session.execute(query)]

    def waiting_work(self, lane: str) -> dict[str, float]:
        """Kind → sum of `work` of the jobs that wait in that lane."""
        query = (
            select(Job.kind, func.sum(Job.work))
            .where(Job.status.in_((PENDING, RETRYING)), Job.lane == lane)
            .group_by(Job.kind)
        )
        return {kind: float(work) for kind, work in self._session.execute(query)}

    def list_running(self, lane: str) -> list[Job]:
        """Jobs of that lane that run, oldest first."""
        query = select(Job).where(Job.status == RUNNING, Job.lane == lane)
        return list(self._session.scalars(query.order_by(Job.created_at, Job.id)))

    def attempts(self, job_id: str) -> list[JobAttempt]:
        """The attempts of a job, first to last."""
        query = select(JobAttempt).where(JobAttempt.job_id == job_id).order_by(JobAttempt.number)
        return list(self._session.scalars(query))

    def outcome_of(self, job_id: str, owner: str) -> str | None:
        """How the job has ended, if it was the attempt of this owner that ended it."""
        query = (
            select(Job.status)
            .join(JobAttempt, (JobAttempt.job_id == Job.id) & (JobAttempt.outcome == Job.status))
            .where(Job.id == job_id, JobAttempt.owner == owner)
        )
        return self._session.scalar(query)

    def find_by_idempotency_key(self, key: str) -> Job | None:
        """The job that was created under this key."""
        return self._session.scalars(select(Job).where(Job.idempotency_key == key)).first()

    def pace(self, kind: str) -> float | None:
        """Seconds per unit of `work`: the median of the last jobs of that kind; None before one."""
        query = (
            select(Job.work, Job.started_at, Job.finished_at)
            .where(Job.kind == kind, Job.status == SUCCEEDED, Job.work > 0)
            .order_by(Job.created_at.desc())
            .limit(_PACE_OF)
        )
        paces = [
            seconds_between(started, finished) / work
            for work, started, finished in self._session.execute(query)
            if started and finished
        ]
        return statistics.median(paces) if paces else None

    def find_unfinished(self, kind: str) -> Job | None:
        """The oldest job of that kind that has not ended."""
        query = (
            select(Job)
            .where(Job.kind == kind, Job.status.in_(UNFINISHED))
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

    def create(self, kind: str, lane: str, payload: Mapping[str, Any], **more: Any) -> Job:
        """Add a pending job; it is queued by its service after the commit.

        `more` are further columns: `work, retries_left, idempotency_key, request_digest, retry_of`.
        """
        job = Job(
            id=str(uuid.uuid4()),
            kind=kind,
            lane=lane,
            status=PENDING,
            payload=dict(payload),
            created_at=utc_now(),
            **more,
        )
        self._session.add(job)
        self._session.flush()
        return job

    def claim(self, job_id: str, owner: str) -> bool:
        """Take a pending job; False if it is not pending (any more), or not due yet."""
        now = utc_now()
        taken = self._set(
            (Job.id == job_id)
            & Job.status.in_((PENDING, RETRYING))
            & ~Job.cancel_requested
            & _is_due(),
            status=RUNNING,
            started_at=now,
            not_before=None,
            attempts=Job.attempts + 1,
            lease_owner=owner,
            lease_until=utc_after(LEASE_S),
        )
        if taken:
            number = select(Job.attempts).where(Job.id == job_id)
            self._session.add(
                JobAttempt(
                    job_id=job_id,
                    number=self._session.scalar(number),
                    owner=owner,
                    started_at=now,
                )
            )
            self._session.flush()
        return taken

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
        ended = self._set(
            allowed,
            status=status,
            result=result,
            error=error,
            finished_at=utc_now(),
            lease_owner=None,
            lease_until=None,
            **({"progress": 1.0} if result is not None else {}),
        )
        if ended:
            self._end_attempt(job_id, status, error)
        return ended

    def retry_later(
        self, job_id: str, owner: str, delay_s: float, error: Mapping[str, Any]
    ) -> bool:
        """Have a job that failed tried again after a pause; False if it may not (any more)."""
        waiting = self._set(
            _held_by(job_id, owner) & ~Job.cancel_requested & (Job.retries_left > 0),
            status=RETRYING,
            retries_left=Job.retries_left - 1,
            not_before=utc_after(delay_s),
            message=error.get("detail"),
            lease_owner=None,
            lease_until=None,
        )
        if waiting:
            self._end_attempt(job_id, FAILED, error)
        return waiting

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

        It was not abandoned, so this attempt counts for nothing.
        """
        released = self._set(
            _held_by(job_id, owner) & ~Job.cancel_requested,
            status=RETRYING,
            lease_owner=None,
            lease_until=None,
        )
        if released:
            self._end_attempt(job_id, RELEASED, None)
        return released

    def release_abandoned(self, leases: Collection[str | None] | None = None) -> list[Job]:
        """Give jobs whose process is dead or silent back to the queue; cancelled ones end.

        A job abandoned too often ends as failed. With `leases`, only jobs that hold one of them.
        """
        now = utc_now()
        released = [
            job for job in self.list_abandoned() if leases is None or job.lease_owner in leases
        ]
        for job in released:
            job.lease_owner = job.lease_until = None
            self._end_attempt(job.id, ABANDONED, None)
            times = self._count_abandoned(job.id)
            if job.cancel_requested:
                job.status, job.finished_at = CANCELLED, now
            elif times >= _MOST_ABANDONED:
                job.status, job.finished_at = FAILED, now
                job.error = {
                    "code": "job_abandoned",
                    "detail": f"The program ended {times} times while this job ran. "
                    "Its log may say why; a smaller picture or model needs less memory.",
                    "status": 500,
                }
            else:
                job.status = RETRYING
        self._session.flush()
        return released

    def _end_attempt(self, job_id: str, outcome: str, error: Mapping[str, Any] | None) -> None:
        self._session.execute(
            update(JobAttempt)
            .where(JobAttempt.job_id == job_id, JobAttempt.outcome.is_(None))
            .values(ended_at=utc_now(), outcome=outcome, error=error)
        )

    def _count_abandoned(self, job_id: str) -> int:
        query = select(func.count()).where(
            JobAttempt.job_id == job_id, JobAttempt.outcome == ABANDONED
        )
        return self._session.scalar(query) or 0

    def _set(self, where: ColumnElement[bool], **values: Any) -> bool:
        result = self._session.execute(
            update(Job).where(where).values(**values).execution_options(synchronize_session=False)
        )
        assert isinstance(result, CursorResult)
        return bool(result.rowcount == 1)


def _is_due() -> ColumnElement[bool]:
    """Its pause is over, or so long that the clock must have been set back meanwhile."""
    return or_(
        Job.not_before.is_(None),
        Job.not_before <= utc_now(),
        Job.not_before > utc_after(_LONGEST_WAIT_S),
    )


def _held_by(job_id: str, owner: str) -> ColumnElement[bool]:
    return (Job.id == job_id) & (Job.status == RUNNING) & (Job.lease_owner == owner)
