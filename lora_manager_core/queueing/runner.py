"""Runs one job: claims its row, calls its handler, stores the outcome, tells the feed.

This is one of the three places that catch every exception: what a handler raises beyond the error
tree is logged with its trace and ends the job as failed.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core.common.clock import seconds_between, utc_now
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, Feed, FeedEvent
from lora_manager_core.queueing.base import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    JobCancelled,
    JobContext,
    JobHandler,
    JobProgress,
)
from lora_manager_core.queueing.store import LEASE_S, JobStore, JobWriter

_log = logging.getLogger(__name__)

#: Progress goes to the feed at once, to the row at most this often.
_ROW_INTERVAL_S = 1.0


class JobRunner:
    """Runs jobs by id. One per process; its `owner` is the name on the leases it holds."""

    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._feed = feed
        self._handlers: dict[str, JobHandler] = {}
        #: A job may be queued twice, so each try to run it has a flag of its own.
        self._running: dict[str, list[threading.Event]] = {}
        self._stopped = False
        self._lock = threading.Lock()
        self.owner = str(uuid.uuid4())

    def register(self, kind: str, handler: JobHandler) -> None:
        """Say what a kind of job does."""
        self._handlers[kind] = handler

    def cancel(self, job_id: str) -> None:
        """Tell a job that runs here to stop."""
        with self._lock:
            for flag in self._running.get(job_id, ()):
                flag.set()

    def stop_all(self) -> None:
        """Tell every job that runs here to stop, and begin none until `resume`."""
        with self._lock:
            self._stopped = True
            for flags in self._running.values():
                for flag in flags:
                    flag.set()

    def resume(self) -> None:
        """Begin jobs again."""
        with self._lock:
            self._stopped = False

    def run(self, job_id: str) -> None:
        """Run a pending job to its end; does nothing if somebody else took or cancelled it."""
        flag = threading.Event()
        with self._lock:
            if self._stopped:
                return
            self._running.setdefault(job_id, []).append(flag)
        try:
            with self._database.write() as session:
                if not JobWriter(session).claim(job_id, self.owner):
                    return
            with self._database.read() as session:
                job = JobStore(session).get(job_id)
            if job is not None:
                self._run_claimed(job, flag)
        finally:
            with self._lock:
                self._running[job_id].remove(flag)
                if not self._running[job_id]:
                    del self._running[job_id]

    def _run_claimed(self, job: Job, flag: threading.Event) -> None:
        publish_started(self._feed, job)
        context = _RunningJob(job, self._database, self._feed, self.owner, flag)
        stop_heart = threading.Event()
        heart = threading.Thread(
            target=context.beat, args=(stop_heart,), name="job-heartbeat", daemon=True
        )
        heart.start()
        status, result, error = FAILED, None, None
        try:
            result = dict(self._handlers[job.kind](context))
            orjson.dumps(result)  # what cannot be stored is a defect of the handler: fail here
            status = SUCCEEDED
        except JobCancelled:
            if self._give_back(job.id):
                return
            status = CANCELLED
        except LoraManagerError as failure:
            error = {"code": failure.code, "detail": failure.detail, "status": failure.status}
            _log.warning("job %s (%s) failed: %s", job.id, job.kind, failure.detail)
        except Exception:  # noqa: BLE001 - the border of a job, see above
            result = None
            _log.exception("job %s (%s) failed unexpectedly", job.id, job.kind)
            error = {
                "code": "internal_error",
                "detail": f"The job failed unexpectedly; the log has the details under {job.id}.",
                "status": 500,
            }
        finally:
            stop_heart.set()
            heart.join()
        with self._database.write() as session:
            writer = JobWriter(session)
            if not writer.finish(job.id, self.owner, status, result, error):
                # Cancelled meanwhile: that stands, whatever the handler came to.
                status, result, error = CANCELLED, None, None
                if not writer.finish(job.id, self.owner, status, result, error):
                    return  # the lease was lost: the job is somebody else's to end
            started = job.started_at or utc_now()
            session.after_commit(
                lambda: publish_end(
                    self._feed, job, status, result, error, seconds_between(started, utc_now())
                )
            )

    def _give_back(self, job_id: str) -> bool:
        """Put a job that this process stopped on its own, not a person, back into the queue."""
        with self._database.write() as session:
            return JobWriter(session).release(job_id, self.owner)


class _RunningJob(JobContext):
    def __init__(
        self, job: Job, database: Database, feed: Feed, owner: str, flag: threading.Event
    ) -> None:
        self.job_id = job.id
        self.payload: Mapping[str, Any] = job.payload
        self._kind = job.kind
        self._database = database
        self._feed = feed
        self._owner = owner
        self._flag = flag
        self._highest = 0.0
        self._row_written_at = 0.0

    def report(self, progress: JobProgress) -> None:
        self._highest = max(self._highest, min(1.0, progress.fraction))
        self._feed.publish(
            FeedEvent(
                PROGRESS,
                self.job_id,
                {
                    "job_id": self.job_id,
                    "kind": self._kind,
                    "status": "processing",
                    "progress": self._highest,
                    "current_step": progress.step,
                    "total_steps": progress.steps,
                    "eta_seconds": progress.eta_s,
                    "message": progress.message,
                    "preview_image": None,
                    "error_message": None,
                },
            )
        )
        if time.monotonic() - self._row_written_at >= _ROW_INTERVAL_S:
            self._row_written_at = time.monotonic()
            self._keep(
                progress=self._highest,
                step=progress.step,
                steps=progress.steps,
                eta_s=progress.eta_s,
                message=progress.message,
            )

    def is_cancelled(self) -> bool:
        return self._flag.is_set()

    def beat(self, stop: threading.Event) -> None:
        """Renew the lease and look for a cancel that another process asked for."""
        while not stop.wait(LEASE_S / 6):
            try:
                self._keep()
                with self._database.read() as session:
                    row = JobStore(session).get(self.job_id)
            except SQLAlchemyError:  # the lease outlasts several beats: the next one may succeed
                _log.warning("the lease of job %s was not renewed", self.job_id, exc_info=True)
                continue
            if row is None or row.cancel_requested:
                self._flag.set()

    def _keep(self, **progress: Any) -> None:
        with self._database.write() as session:
            held = JobWriter(session).keep(self.job_id, self._owner, **progress)
        if not held:  # the lease ran out and somebody else has the job
            self._flag.set()


def publish_started(feed: Feed, job: Job) -> None:
    """Tell the feed that a job has started."""
    feed.publish(
        FeedEvent(
            STARTED,
            job.id,
            {
                "job_id": job.id,
                "kind": job.kind,
                "params": job.payload,
                "estimated_duration": None,
                "progress": 0.0,
            },
        )
    )


def publish_end(
    feed: Feed,
    job: Job,
    status: str,
    result: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
    duration_s: float | None,
) -> None:
    """Tell the feed that a job has ended."""
    words = {SUCCEEDED: "completed", FAILED: "failed", CANCELLED: "cancelled"}
    feed.publish(
        FeedEvent(
            COMPLETE,
            job.id,
            {
                "job_id": job.id,
                "kind": job.kind,
                "status": words[status],
                "images": (result or {}).get("images", []),
                "error_message": (error or {}).get("detail"),
                "error_code": (error or {}).get("code"),
                "total_duration": duration_s,
                "generation_info": (result or {}).get("generation_info"),
                "result": result,
            },
        )
    )
