"""What others do with jobs: submit, look, wait, cancel, and take up what a dead process left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lora_manager_core.common.clock import seconds_between, utc_now
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.errors import JobAlreadyFinished, JobNotFound
from lora_manager_core.feed.base import Feed, FeedEvent
from lora_manager_core.queueing.base import CANCELLED, ENDED, JobQueue
from lora_manager_core.queueing.events import publish_end
from lora_manager_core.queueing.load import QueueLoad, queue_load
from lora_manager_core.queueing.owner import is_dead
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.running import BEAT_S
from lora_manager_core.queueing.store import JobStore, JobWriter

_log = logging.getLogger(__name__)

#: How often a waiter looks at the row itself, for jobs that end in another process.
_LOOK_INTERVAL_S = 1.0
#: How often the keeper looks for jobs that nobody runs any more, or that are due for another try.
_KEEP_INTERVAL_S = 5.0
#: How long a lease that has run out is watched before it counts: its holder may only have slept, as
#: the whole machine may, or its clock may go otherwise than ours. A living one renews it meanwhile.
_WATCH_S = 2 * BEAT_S


class Jobs:
    """The jobs of this installation, whichever queue carries them."""

    def __init__(
        self,
        database: Database,
        job_queue: JobQueue,
        feed: Feed,
        runner: JobRunner,
        watch_s: float = _WATCH_S,
    ) -> None:
        self._database = database
        self._queue = job_queue
        self._feed = feed
        self._runner = runner
        self._watch_s = watch_s
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._keeper: threading.Thread | None = None
        #: Leases seen to have run out, and since when (monotonic); None before the first look.
        self._overdue: dict[str | None, float] | None = None

    def submit(
        self,
        session: WriteSession,
        kind: str,
        lane: str,
        payload: Mapping[str, Any],
        **more: Any,
    ) -> Job:
        """Add a job within the caller's unit of work; it is queued once that is committed.

        `more` are further columns of the row, see `JobWriter.create`.
        """
        job = JobWriter(session).create(kind, lane, payload, **more)
        session.after_commit(lambda: self._queue.submit(lane, job.id))
        return job

    def get(self, job_id: str) -> Job:
        """The job; raises `JobNotFound`."""
        with self._database.read() as session:
            job = JobStore(session).get(job_id)
        if job is None:
            raise JobNotFound(f"There is no job {job_id}.")
        return job

    def cancel(self, job_id: str) -> Job:
        """Stop a job: a waiting one never starts, a running one stops at its next step.

        Raises:
            JobNotFound: no such job.
            JobAlreadyFinished: it has ended.
        """
        self.get(job_id)
        with self._database.write() as session:
            store = JobWriter(session)
            ended = store.cancel_pending(job_id)
            if not ended and not store.request_cancel(job_id):
                raise JobAlreadyFinished("This job has ended already; nothing is left to cancel.")
        job = self.get(job_id)
        if ended:
            publish_end(self._feed, job, CANCELLED, None, None, None)
        else:
            self._queue.cancel(job_id)
        return job

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Block until the job has ended (or the time is over); gives it as it is then."""
        ended = threading.Event()

        def _listen(event: FeedEvent) -> None:
            if event.job_id == job_id and event.is_end:
                ended.set()

        unsubscribe = self._feed.subscribe(_listen)
        try:
            job = self.get(job_id)
            give_up_at = float("inf") if timeout_s is None else time.monotonic() + timeout_s
            while job.status not in ENDED and (left_s := give_up_at - time.monotonic()) > 0:
                ended.wait(min(_LOOK_INTERVAL_S, left_s))
                job = self.get(job_id)
            return job
        finally:
            unsubscribe()

    @property
    def started(self) -> bool:
        """Whether `start` was called, and `stop` not since."""
        return self._keeper is not None

    def load(self) -> QueueLoad:
        """What waits and runs, who works, and in how many seconds the GPU's jobs are done."""
        workers = self._queue.workers()
        with self._database.read() as session:
            return queue_load(JobStore(session), workers, self._queue.problem)

    def start(self) -> None:
        """Start the queue with what is left from before, and keep looking for abandoned jobs."""
        pause_s = self.look_after()
        self._queue.start()
        if self._keeper is None:
            self._stopped = threading.Event()
            self._runner.on_put_off = self._wake.set
            keeper = threading.Thread(
                target=self._keep, args=(self._stopped, pause_s), name="job-keeper", daemon=True
            )
            keeper.start()
            self._keeper = keeper  # only now: `stop` may come from another thread, and joins it

    def stop(self) -> None:
        """Stop the queue; running jobs are put back for the next start."""
        self._stopped.set()
        self._wake.set()
        self._queue.stop()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.join(timeout=5.0)

    def _keep(self, stopped: threading.Event, pause_s: float) -> None:
        while True:
            self._wake.wait(pause_s)
            self._wake.clear()
            if stopped.is_set():
                return
            try:
                pause_s = self.look_after()
            except Exception:  # noqa: BLE001 - the border of a thread that must outlive any job
                _log.exception("jobs were not looked after; they are in %s s", _KEEP_INTERVAL_S)
                pause_s = _KEEP_INTERVAL_S

    def look_after(self) -> float:
        """Take up abandoned jobs and queue whatever is due; gives the seconds to the next look.

        The keeper does it every few seconds.
        """
        with self._database.read() as session:
            abandoned = JobStore(session).list_abandoned()
        given_up = self._given_up([job.lease_owner for job in abandoned])
        if given_up:
            with self._database.write() as session:
                released = JobWriter(session).release_abandoned(given_up)
            for job in released:
                if job.status in ENDED:
                    publish_end(self._feed, job, job.status, None, job.error, None)
        with self._database.read() as session:
            store = JobStore(session)
            # In this order: what becomes due between the two queries is seen by both, not by none.
            next_due_at = store.next_due_at()
            due = store.list_due()
        self._queue.submit_all(due)
        if next_due_at is None:
            return _KEEP_INTERVAL_S
        return min(_KEEP_INTERVAL_S, max(0.05, seconds_between(utc_now(), next_due_at)))

    def _given_up(self, leases: Sequence[str | None]) -> set[str | None]:
        """Those of these leases that are dead or overdue for long enough, and not held here."""
        now, before = time.monotonic(), self._overdue
        dead = {lease for lease in leases if is_dead(lease or "")}
        overdue = set(leases) - dead - self._runner.leases()
        if before is None:  # who was silent before we began has had its time
            before = dict.fromkeys(overdue, now - self._watch_s)
        self._overdue = {lease: before.get(lease, now) for lease in overdue}
        silent = {lease for lease, since in self._overdue.items() if now - since >= self._watch_s}
        return dead | silent
