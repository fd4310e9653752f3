"""The queries on jobs that make or read archives."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.import_export.imports.staging import JobState
from lora_manager_core.import_export.kinds import ARCHIVE_JOBS
from lora_manager_core.queueing.base import RUNNING, SUCCEEDED, UNFINISHED
from lora_manager_core.queueing.owner import is_dead


class ArchiveJobStore:
    """Such jobs of one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def newest(self, limit: int, kinds: Sequence[str] = ARCHIVE_JOBS) -> list[Job]:
        """The last jobs of these kinds, newest first."""
        query = (
            select(Job)
            .where(Job.kind.in_(kinds))
            .order_by(Job.created_at.desc(), Job.id.desc())
            .limit(limit)
        )
        return list(self._session.scalars(query))

    def get(self, job_id: str) -> Job | None:
        """The job, if it is of such a kind."""
        query = select(Job).where(Job.id == job_id, Job.kind.in_(ARCHIVE_JOBS))
        return self._session.scalars(query).first()

    def state(self, job_id: str) -> JobState:
        """What may be done with the files that this job left."""
        job = self._session.get(Job, job_id, populate_existing=True)
        if job is None:
            return "over"
        if job.status == SUCCEEDED:
            return "succeeded"
        if job.status == RUNNING and is_dead(job.lease_owner or ""):
            return "over"
        # A job that waits for another try takes back itself what an earlier one left.
        return "alive" if job.status in UNFINISHED else "over"
