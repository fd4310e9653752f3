"""Runs one job: claims its row, calls its handler, stores the outcome, tells the feed.

This is one of the three places that catch every exception: what a handler raises beyond the error
tree is logged with its trace and ends the job as failed.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from lora_manager_core.common.clock import seconds_between, utc_now
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.feed.base import Feed
from lora_manager_core.queueing.base import (
    CANCELLED,
    ENDED,
    FAILED,
    RETRYING,
    SUCCEEDED,
    JobCancelled,
    JobHandler,
    JobOutcome,
)
from lora_manager_core.queueing.events import publish_end, publish_started, publish_waiting
from lora_manager_core.queueing.owner import new_owner
from lora_manager_core.queueing.running import RunningJob
from lora_manager_core.queueing.store import RELEASED, JobWriter

_log = logging.getLogger(__name__)

#: The longest pause between two tries of one job.
_LONGEST_PAUSE_S = 60.0
#: How often the end of a job is stored again if the database does not answer.
_TRIES_TO_END = 6
#: What a database raises that is locked or gone, for a moment perhaps.
_NO_ANSWER = (OperationalError, InterfaceError, NoConnection)


class JobRunner:
    """Runs jobs by id. One per process; every attempt has a lease with a name of its own.

    A job that failed for something that may pass is tried again after `first_pause_s`, then twice
    that, and so on, as often as its row allows.
    """

    def __init__(self, database: Database, feed: Feed, first_pause_s: float = 2.0) -> None:
        self._database = database
        self._feed = feed
        self.first_pause_s = first_pause_s
        self._handlers: dict[str, JobHandler] = {}
        #: Job and stop flag of each attempt, by lease. A job may be queued twice.
        self._running: dict[str, tuple[str, threading.Event]] = {}
        #: The lane of each attempt that holds its job, by lease.
        self._lanes: dict[str, str] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        #: Called after a job was put back for a later try; the keeper of the jobs listens.
        self.on_put_off: Callable[[], None] = lambda: None

    def register(self, kind: str, handler: JobHandler) -> None:
        """Say what a kind of job does."""
        self._handlers[kind] = handler

    def leases(self) -> frozenset[str]:
        """The names of the leases that are held here now."""
        with self._lock:
            return frozenset(self._running)

    def runs(self, lane: str) -> bool:
        """Whether a job of that lane runs here now."""
        return lane in list(self._lanes.values())

    def cancel(self, job_id: str) -> None:
        """Tell a job that runs here to stop."""
        with self._lock:
            for running, flag in self._running.values():
                if running == job_id:
                    flag.set()

    def stop_all(self) -> None:
        """Tell every job that runs here to stop, and begin none until `resume`."""
        with self._lock:
            self._stopped.set()
            for _, flag in self._running.values():
                flag.set()

    def resume(self) -> None:
        """Begin jobs again."""
        with self._lock:
            self._stopped.clear()

    def run(self, job_id: str) -> bool:
        """Run a pending job to its end; does nothing if somebody else took or cancelled it.

        Gives whether it failed here for something that may pass, and may not have elsewhere.
        """
        flag, lease = threading.Event(), new_owner()
        with self._lock:
            if self._stopped.is_set():
                return False
            self._running[lease] = (job_id, flag)
        try:
            with self._database.write() as session:
                writer = JobWriter(session)
                job = writer.get(job_id) if writer.claim(job_id, lease) else None
                pace = writer.pace(job.kind) if job is not None else None
            if job is None:
                return False
            self._lanes[lease] = job.lane
            attempt = RunningJob(job, self._database, self._feed, lease, flag)
            with attempt.kept():
                end = self._attempt(job, attempt, pace)
                self._settle(job, lease, end, attempt.highest)
            return end.may_pass
        finally:
            with self._lock:
                del self._running[lease]
                self._lanes.pop(lease, None)

    def _attempt(self, job: Job, attempt: RunningJob, pace: float | None) -> _End:
        outcome = JobOutcome({})
        try:
            publish_started(self._feed, job, pace)
            made = self._handlers[job.kind](attempt)
            outcome = made if isinstance(made, JobOutcome) else JobOutcome(dict(made))
            orjson.dumps(outcome.result)  # what cannot be stored is a defect of the handler
        except JobCancelled:
            return _End(CANCELLED)
        except Exception as failure:  # noqa: BLE001 - the border of a job, see above
            return _failed(job, failure, outcome)
        return _End(SUCCEEDED, outcome)

    def _settle(self, job: Job, lease: str, end: _End, progress: float) -> None:
        """Store how an attempt ended, and tell it.

        A database that does not answer is asked again for a while. If it never does, the row stays
        as it is, and the job is begun again once its lease has run out.
        """
        tries = 0
        while True:
            try:
                stored, pause_s = self._store(job.id, lease, end)
                break
            except _NO_ANSWER:
                if tries == _TRIES_TO_END or self._stopped.is_set():
                    _log.exception("the end of job %s could not be stored", job.id)
                    return
                _log.warning("the end of job %s was not stored", job.id, exc_info=True)
                self._stopped.wait(self.first_pause_s * 2**tries)
                tries += 1
            except Exception as failure:  # of the handler's part of the unit of work
                if end.outcome.store is None:
                    raise
                end = _failed(job, failure, end.outcome)
        if stored in (FAILED, CANCELLED) and end.outcome.undo is not None:
            end.outcome.undo()  # not where the job is somebody else's: so may be the files by now
        if stored == SUCCEEDED and end.outcome.done is not None:
            try:
                end.outcome.done()
            except Exception:  # noqa: BLE001 - the border of a job, which has ended well
                _log.exception("what follows job %s was not done", job.id)
        if stored in ENDED:
            error = end.error if stored == FAILED else None
            result = end.outcome.result if stored == SUCCEEDED else None
            duration_s = seconds_between(job.started_at or utc_now(), utc_now())
            publish_end(self._feed, job, stored, result, error, duration_s)
        elif stored is not None:
            if end.error is not None:
                publish_waiting(self._feed, job, progress, pause_s, end.error)
            self.on_put_off()

    def _store(self, job_id: str, lease: str, end: _End) -> tuple[str | None, float]:
        """What became of the job, and the pause before its next try; None: it is not ours to end.

        Gives the same again if an earlier call did it and the answer of the database was lost.
        """
        with self._database.write() as session:
            writer = JobWriter(session)
            if end.status == CANCELLED and writer.release(job_id, lease):
                # This process was stopped, not the job.
                return RELEASED, 0.0
            if end.may_pass and end.error is not None:
                failed = sum(a.outcome == FAILED for a in writer.attempts(job_id))
                pause_s = min(_LONGEST_PAUSE_S, self.first_pause_s * 2**failed)
                pause_s *= random.uniform(0.8, 1.2)  # so that many do not come back at one moment
                if writer.retry_later(job_id, lease, pause_s, end.error):
                    return RETRYING, pause_s
            result = end.outcome.result if end.status == SUCCEEDED else None
            if writer.finish(job_id, lease, end.status, result, end.error):
                if result is not None and end.outcome.store is not None:
                    end.outcome.store(session)
                return end.status, 0.0
            # Cancelled meanwhile: that stands, whatever the handler came to.
            if writer.finish(job_id, lease, CANCELLED, None, None):
                return CANCELLED, 0.0
            return writer.outcome_of(job_id, lease), 0.0


@dataclass(frozen=True, slots=True)
class _End:
    """How an attempt ended, before the database has a say in it."""

    status: str
    outcome: JobOutcome = field(default_factory=lambda: JobOutcome({}))
    error: Mapping[str, Any] | None = None
    may_pass: bool = False


def _failed(job: Job, failure: Exception, outcome: JobOutcome) -> _End:
    """The end of an attempt by an error; what it made meanwhile is to be taken back."""
    undone = JobOutcome({}, undo=outcome.undo)
    if isinstance(failure, LoraManagerError):
        error = {"code": failure.code, "detail": failure.detail, "status": failure.status}
        _log.warning("job %s (%s) failed: %s", job.id, job.kind, failure.detail)
        return _End(FAILED, undone, error, failure.may_pass)
    _log.error("job %s (%s) failed unexpectedly", job.id, job.kind, exc_info=failure)
    detail = f"The job failed unexpectedly; the log has the details under {job.id}."
    return _End(FAILED, undone, {"code": "internal_error", "detail": detail, "status": 500})
