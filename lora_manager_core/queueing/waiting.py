"""Callers who wait for a job they asked for: not too many at once, and only if somebody does it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lora_manager_core.db.models import Job
from lora_manager_core.errors import Busy, LoraManagerError
from lora_manager_core.queueing.base import SUCCEEDED, JobQueue
from lora_manager_core.queueing.service import Jobs

#: Callers that may wait at once: each holds one of the server's threads.
_MOST_WAITING = 4


class JobWaiting:
    """The callers that wait for jobs of one lane. `title` is that of a failed job's problem."""

    def __init__(self, jobs: Jobs, queue: JobQueue, lane: str, title: str) -> None:
        self._jobs = jobs
        self._queue = queue
        self._lane = lane
        self._title = title
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)

    def wait_for(self, submit: Callable[[], Job]) -> Job:
        """Submit a job and wait until it has succeeded; `submit` opens its own unit of work.

        Raises:
            Busy: nobody works on such jobs, or too many callers wait already.
            LoraManagerError: whatever ended the job, with its `job_id`.
        """
        if not self._queue.runs_here and not any(
            self._lane in worker.lanes for worker in self._queue.workers()
        ):
            raise Busy(
                self._queue.problem
                or f"No worker does {self._lane} jobs now. Start `lora-manager worker`, or send "
                "`background: true`, and the job waits for one."
            )
        if not self._waiting.acquire(blocking=False):
            raise Busy("Too many callers wait for such jobs; send `background: true` instead.")
        try:
            job = self._jobs.wait(submit().id)
        finally:
            self._waiting.release()
        if job.status != SUCCEEDED:
            raise self._failure(job)
        return job

    def _failure(self, job: Job) -> LoraManagerError:
        """What ended the job, as the problem it was."""
        stored = job.error or {
            "detail": f"The job ended as {job.status}.",
            "code": f"job_{job.status}",
        }
        error = LoraManagerError(
            stored.get("detail", "The job failed; see the log."), job_id=job.id
        )
        error.status = stored.get("status", 409)
        error.code = stored.get("code", "internal_error")
        error.title = self._title
        return error
