"""Runs one job: claims its row, calls its handler, stores the outcome, tells the feed.

This is one of the three places that catch every exception: what a handler raises beyond the error
tree is logged with its trace and ends the job as failed.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
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
    JobOutcome,
    JobProgress,
)
from lora_manager_core.queueing.owner import new_owner
from lora_manager_core.queueing.store import LEASE_S, JobStore, JobWriter

_log = logging.getLogger(__name__)

#: Progress goes to the feed at once, to the row at most this often.
_ROW_INTERVAL_S = 1.0
#: The longest pause between two tries of one job.
_LONGEST_PAUSE_S = 60.0


class JobRunner:
    """Runs jobs by id. One per process; its `owner` is the name on the leases it holds.

    A job that failed for something that may pass is tried again after `first_pause_s`, then twice
    that, and so on, as often as its row allows.
    """

    def __init__(self, database: Database, feed: Feed, first_pause_s: float = 2.0) -> None:
        self._database = database
        self._feed = feed
        self._first_pause_s = first_pause_s
        self._handlers: dict[str, JobHandler] = {}
        #: A job may be queued twice, so each try to run it has a flag of its own.
        self._running: dict[str, list[threading.Event]] = {}
        self._stopped = False
        self._lock = threading.Lock()
        self.owner = new_owner()
        #: Called after a job was put off to a later try; the keeper of the jobs listens.
        self.on_put_off: Callable[[], None] = lambda: None

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
                store = JobStore(session)
                job = store.get(job_id)
                pace = store.pace(job.kind) if job is not None else None
            if job is not None:
                publish_started(self._feed, job, pace)
                self._run_claimed(job, flag)
        finally:
            with self._lock:
                self._running[job_id].remove(flag)
                if not self._running[job_id]:
                    del self._running[job_id]

    def _run_claimed(self, job: Job, flag: threading.Event) -> None:
        context = _RunningJob(job, self._database, self._feed, self.owner, flag)
        stop_heart = threading.Event()
        heart = threading.Thread(
            target=context.beat, args=(stop_heart,), name="job-heartbeat", daemon=True
        )
        heart.start()
        status, outcome, error = FAILED, JobOutcome({}), None
        try:
            made = self._handlers[job.kind](context)
            outcome = made if isinstance(made, JobOutcome) else JobOutcome(dict(made))
            orjson.dumps(outcome.result)  # what cannot be stored is a defect of the handler
            status = SUCCEEDED
        except JobCancelled:
            if self._give_back(job.id):
                return
            status = CANCELLED
        except LoraManagerError as failure:
            error = {"code": failure.code, "detail": failure.detail, "status": failure.status}
            _log.warning("job %s (%s) failed: %s", job.id, job.kind, failure.detail)
            if failure.may_pass and self._put_off(job, error, context.highest):
                return
        except Exception:  # noqa: BLE001 - the border of a job, see above
            outcome = JobOutcome({}, undo=outcome.undo)
            _log.exception("job %s (%s) failed unexpectedly", job.id, job.kind)
            error = {
                "code": "internal_error",
                "detail": f"The job failed unexpectedly; the log has the details under {job.id}.",
                "status": 500,
            }
        finally:
            stop_heart.set()
            heart.join()
        self._end(job, status, outcome, error)

    def _end(
        self, job: Job, status: str, outcome: JobOutcome, error: Mapping[str, Any] | None
    ) -> None:
        result = outcome.result if status == SUCCEEDED else None
        with self._database.write() as session:
            writer = JobWriter(session)
            if writer.finish(job.id, self.owner, status, result, error):
                if result is not None and outcome.store is not None:
                    outcome.store(session)
            else:
                # Cancelled meanwhile: that stands, whatever the handler came to.
                status, result, error = CANCELLED, None, None
                if not writer.finish(job.id, self.owner, status, result, error):
                    return  # the lease was lost: the job is somebody else's to end
        if result is None and outcome.undo is not None:
            outcome.undo()
        started = job.started_at or utc_now()
        publish_end(self._feed, job, status, result, error, seconds_between(started, utc_now()))

    def _put_off(self, job: Job, error: Mapping[str, Any], progress: float) -> bool:
        """Have a job tried again later; False if it has been tried often enough, or cancelled."""
        with self._database.read() as session:
            failed = sum(a.outcome == FAILED for a in JobStore(session).attempts(job.id))
        pause_s = min(_LONGEST_PAUSE_S, self._first_pause_s * 2**failed)
        pause_s *= random.uniform(0.8, 1.2)  # so that many jobs do not come back at one moment
        with self._database.write() as session:
            if not JobWriter(session).retry_later(job.id, self.owner, pause_s, error):
                return False
        publish_waiting(self._feed, job, progress, pause_s, error)
        self.on_put_off()
        return True

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
        self.highest = job.progress  # of an earlier attempt: progress never falls
        self._row_written_at = 0.0

    def report(self, progress: JobProgress) -> None:
        self.highest = max(self.highest, min(1.0, progress.fraction))
        self._feed.publish(
            FeedEvent(
                PROGRESS,
                self.job_id,
                {
                    "job_id": self.job_id,
                    "kind": self._kind,
                    "status": "processing",
                    "progress": self.highest,
                    "current_step": progress.step,
                    "total_steps": progress.steps,
                    "eta_seconds": progress.eta_s,
                    "message": progress.message,
                    "preview_image": progress.preview,
                    "error_message": None,
                },
            )
        )
        if time.monotonic() - self._row_written_at >= _ROW_INTERVAL_S:
            self._row_written_at = time.monotonic()
            self._keep(
                progress=self.highest,
                step=progress.step,
                steps=progress.steps,
                eta_s=progress.eta_s,
                message=progress.message,
            )

    def is_cancelled(self) -> bool:
        return self._flag.is_set()

    def previews_wanted(self) -> bool:
        return self._feed.previews_wanted()

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


def publish_started(feed: Feed, job: Job, pace: float | None) -> None:
    """Tell the feed that a job has started; `pace` is seconds per unit of work, if known."""
    feed.publish(
        FeedEvent(
            STARTED,
            job.id,
            {
                "job_id": job.id,
                "kind": job.kind,
                "params": job.payload,
                "estimated_duration": None if pace is None else round(pace * job.work, 3),
                "progress": 0.0,
            },
        )
    )


def publish_waiting(
    feed: Feed, job: Job, progress: float, pause_s: float, error: Mapping[str, Any]
) -> None:
    """Tell the feed that a job failed for something that may pass, and is tried again."""
    feed.publish(
        FeedEvent(
            PROGRESS,
            job.id,
            {
                "job_id": job.id,
                "kind": job.kind,
                "status": "queued",
                "progress": progress,
                "current_step": None,
                "total_steps": None,
                "eta_seconds": None,
                "message": f"Trying again in {pause_s:.0f} s: {error['detail']}",
                "preview_image": None,
                "error_message": error["detail"],
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
