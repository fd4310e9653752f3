"""What a running handler is given, and the heart that keeps its lease."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core.common.clock import utc_after, utc_now
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.feed.base import Feed
from lora_manager_core.queueing.base import JobContext, JobProgress
from lora_manager_core.queueing.events import publish_progress
from lora_manager_core.queueing.store import JobWriter

_log = logging.getLogger(__name__)

#: Progress goes to the feed at once, to the row at most this often.
_ROW_INTERVAL_S = 1.0
#: How often a lease is renewed; the keepers of other processes forgive a few missed beats.
BEAT_S = 5.0


class RunningJob(JobContext):
    """One attempt at a job. `flag` is set once it is to stop; `lease` is its name on the row."""

    def __init__(
        self, job: Job, database: Database, feed: Feed, lease: str, flag: threading.Event
    ) -> None:
        self.job_id = job.id
        self.payload: Mapping[str, Any] = job.payload
        self._kind = job.kind
        self._database = database
        self._feed = feed
        self._lease = lease
        self._flag = flag
        self.highest = job.progress  # of an earlier attempt: progress never falls
        self._row_written_at = 0.0
        #: Until then nobody else can have taken the job.
        self._safe_until = job.lease_until or ""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renews the lease for as long as the block takes."""
        stop = threading.Event()
        heart = threading.Thread(target=self._beat, args=(stop,), name="job-heartbeat", daemon=True)
        heart.start()
        try:
            yield
        finally:
            stop.set()
            heart.join()

    def report(self, progress: JobProgress) -> None:
        self.highest = max(self.highest, min(1.0, progress.fraction))
        publish_progress(self._feed, self.job_id, self._kind, self.highest, progress)
        if time.monotonic() - self._row_written_at >= _ROW_INTERVAL_S:
            self._row_written_at = time.monotonic()
            self._renew(
                progress=self.highest,
                step=progress.step,
                steps=progress.steps,
                eta_s=progress.eta_s,
                message=progress.message,
            )

    def is_cancelled(self) -> bool:
        if not self._flag.is_set() and utc_now() > self._safe_until:
            # This process stood still for a while, and the heart may not have beaten since.
            self._renew()
        return self._flag.is_set()

    def previews_wanted(self) -> bool:
        return self._feed.previews_wanted()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(BEAT_S):
            self._renew()

    def _renew(self, **progress: Any) -> None:
        """Renew the lease, and look for its loss or a cancel that another process asked for."""
        try:
            with self._database.write() as session:
                writer = JobWriter(session)
                held = writer.keep(self.job_id, self._lease, **progress)
                row = writer.get(self.job_id) if held else None
        except SQLAlchemyError:  # the lease outlasts many beats: the next one may succeed
            _log.warning("the lease of job %s was not renewed", self.job_id, exc_info=True)
            self._safe_until = utc_after(BEAT_S)  # not at every step of a database that is gone
            return
        if row is None or row.cancel_requested:
            self._flag.set()
        else:
            self._safe_until = row.lease_until or ""
