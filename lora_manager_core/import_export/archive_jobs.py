"""What people do with jobs that make or read archives: look, wait, cancel."""

from __future__ import annotations

from collections.abc import Callable

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import JobNotFound
from lora_manager_core.import_export.imports.staging import JobState
from lora_manager_core.import_export.job_repository import ArchiveJobStore
from lora_manager_core.import_export.schemas import ArchiveJob
from lora_manager_core.queueing.base import LIBRARY_LANE, JobQueue
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.waiting import JobWaiting


class ArchiveJobs:
    """The exports, imports, backups and restores of this installation, as jobs."""

    def __init__(self, database: Database, jobs: Jobs, queue: JobQueue) -> None:
        self._database = database
        self._jobs = jobs
        self._waiting = JobWaiting(jobs, queue, LIBRARY_LANE, "Archive job failed")

    def list(self, limit: int) -> list[ArchiveJob]:
        """The last jobs, newest first."""
        with self._database.read() as session:
            return [_shown(job) for job in ArchiveJobStore(session).newest(limit)]

    def get(self, job_id: str) -> ArchiveJob:
        """One job; raises `JobNotFound`, also for jobs of other kinds."""
        with self._database.read() as session:
            job = ArchiveJobStore(session).get(job_id)
        if job is None:
            raise JobNotFound(f"There is no export, import, backup or restore {job_id}.")
        return _shown(job)

    def cancel(self, job_id: str) -> ArchiveJob:
        """Stop a job; what it had begun is taken back.

        Raises:
            JobNotFound: no such job, or one of another kind.
            JobAlreadyFinished: it has ended.
        """
        self.get(job_id)
        return _shown(self._jobs.cancel(job_id))

    def run(self, submit: Callable[[], Job], background: bool) -> Job:
        """Submit a job; wait for it, see `wait_for`, unless it is to run in the `background`."""
        return submit() if background else self.wait_for(submit)

    def wait_for(self, submit: Callable[[], Job]) -> Job:
        """Submit a job and wait until it has succeeded; `submit` opens its own unit of work.

        Raises:
            Busy: nobody works on such jobs, or too many callers wait already.
            LoraManagerError: whatever ended the job, with its `job_id`.
        """
        return self._waiting.wait_for(submit)

    def state(self, job_id: str) -> JobState:
        """What may be done with the files that this job left."""
        with self._database.read() as session:
            return ArchiveJobStore(session).state(job_id)


def _shown(job: Job) -> ArchiveJob:
    return ArchiveJob(
        id=job.id,
        kind=job.kind,
        status=job.status,
        progress=job.progress,
        message=job.message,
        eta_s=job.eta_s,
        result=job.result,
        error=job.error,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )
