"""What a person does with pictures in the making: see which there are, follow one, cancel it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import JobNotFound
from lora_manager_core.feed.base import PROGRESS, Feed
from lora_manager_core.generation.jobs import GENERATION_JOB
from lora_manager_core.generation.schemas import ActiveJob, JobRecord, ProgressAnswer
from lora_manager_core.generation.sweep_job import SWEEP_JOB
from lora_manager_core.queueing.base import (
    CANCELLED,
    FAILED,
    PENDING,
    RETRYING,
    RUNNING,
    SUCCEEDED,
)
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore

#: State of a job row → word of this API.
STATUS_WORDS: dict[str, Any] = {
    PENDING: "queued",
    RETRYING: "queued",
    RUNNING: "processing",
    SUCCEEDED: "completed",
    FAILED: "failed",
    CANCELLED: "cancelled",
}
_PICTURE_JOBS = (GENERATION_JOB, SWEEP_JOB)
#: What is told of a job that runs, as the feed names it.
_TOLD = ("progress", "current_step", "total_steps", "eta_seconds", "message")


class FollowingService:
    """Jobs that make pictures, as they stand.

    A row is written once a second while its job runs; the feed knows every step.
    """

    def __init__(self, database: Database, jobs: Jobs, feed: Feed) -> None:
        self._database = database
        self._jobs = jobs
        self._feed = feed

    def active(self, limit: int) -> list[ActiveJob]:
        """Jobs that wait or run, oldest first."""
        last = self._last_progress()
        with self._database.read() as session:
            jobs = JobStore(session).list_unfinished(_PICTURE_JOBS, limit)
            return [_active(job, _newest(job, last.get(job.id))) for job in jobs]

    def progress(self, job_id: str) -> ProgressAnswer:
        """How far that job is; raises `JobNotFound`."""
        last = self._last_progress()  # before the row, so that an end is never overlooked
        job = self._jobs.get(job_id)
        now = _newest(job, last.get(job_id))
        return ProgressAnswer(
            job_id=job.id,
            status=STATUS_WORDS[job.status],
            error_message=(job.error or {}).get("detail"),
            **{name: now[name] for name in _TOLD},
        )

    def job(self, job_id: str) -> JobRecord:
        """That job with what came of it; `JobNotFound` for one that makes no picture."""
        job = self._jobs.get(job_id)
        if job.kind not in _PICTURE_JOBS:
            raise JobNotFound(f"Job {job_id} makes no picture.")
        return JobRecord(
            id=job.id,
            prompt=job.payload["params"]["prompt"],
            params=job.payload["params"],
            status=STATUS_WORDS[job.status],
            progress=job.progress,
            result=job.result,
            error=(job.error or {}).get("detail"),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )

    def cancel(self, job_id: str) -> None:
        """Stop a job; raises `JobNotFound` or `JobAlreadyFinished`."""
        self._jobs.cancel(job_id)

    def _last_progress(self) -> dict[str, Mapping[str, Any]]:
        return {
            event.job_id: event.data
            for event in self._feed.last_events()
            if event.type == PROGRESS and event.data["status"] == "processing"
        }


def _newest(job: Job, told: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """How far a job is: as the feed was told last, unless the row knows better."""
    if told is not None and job.status == RUNNING and told["progress"] >= job.progress:
        return told
    return {
        "progress": job.progress,
        "current_step": job.step,
        "total_steps": job.steps,
        "eta_seconds": job.eta_s,
        "message": job.message,
    }


def _active(job: Job, now: Mapping[str, Any]) -> ActiveJob:
    params = job.payload["params"]
    return ActiveJob(
        id=job.id,
        jobId=job.id,
        prompt=params["prompt"],
        status=STATUS_WORDS[job.status],
        progress=round(now["progress"] * 100, 1),
        message=now["message"],
        error=(job.error or {}).get("detail"),
        params=params,
        created_at=job.created_at,
        startTime=job.started_at,
        finished_at=job.finished_at,
        result=job.result,
    )
