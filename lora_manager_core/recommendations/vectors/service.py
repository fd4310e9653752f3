"""Keeps the embeddings of the catalogue in step with it: submits what is due as jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core.common.clock import utc_after
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.queueing.base import (
    EMBEDDING_LANE,
    FAILED,
    PENDING,
    RETRYING,
    SUCCEEDED,
    JobContext,
    JobOutcome,
)
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.recommendations.vectors.jobs import VectorJob, VectorOrder

_log = logging.getLogger(__name__)

#: After a job of ours failed as a whole, so long nothing is submitted by itself.
_PAUSE_S = 600.0
#: A job that runs already found out at its start what is due.
_WAITING = (PENDING, RETRYING)


class VectorService:
    """The embeddings of this installation. `auto` off: only what people ask for is computed."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        kinds: Sequence[VectorJob],
        auto: bool,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._kinds = tuple(kinds)
        self._auto = auto
        for kind in self._kinds:
            runner.register(kind.kind, partial(self._run, kind))

    @property
    def kinds(self) -> list[str]:
        """The kinds of jobs that it submits."""
        return [kind.kind for kind in self._kinds]

    def catch_up(self) -> None:
        """Have whatever is missing or stale computed, unless a job for it waits already.

        Quick, and never raises: what it cannot do now is done after the next scan or query.
        """
        self._look_after(None)

    def submit(self, session: WriteSession, kind: VectorJob, order: VectorOrder) -> Job:
        """Have an order done."""
        return self._jobs.submit(session, kind.kind, EMBEDDING_LANE, order.payload())

    def _run(self, kind: VectorJob, context: JobContext) -> JobOutcome:
        return JobOutcome(kind.run(context), done=partial(self._look_after, kind.kind))

    def _look_after(self, after: str | None) -> None:
        for kind in self._kinds if self._auto else ():
            if kind.follows == after:
                try:
                    self._catch_up(kind)
                except SQLAlchemyError:
                    _log.warning("%s was not looked after", kind.kind, exc_info=True)

    def _catch_up(self, kind: VectorJob) -> None:
        if kind.unavailable() is not None:
            return
        with self._database.read() as session:
            if not kind.is_due(session):
                return
        with self._database.write() as session:
            store = JobStore(session)
            waiting = [
                job
                for job in store.list_unfinished((kind.kind,))
                if VectorOrder.of(job.payload).adapter_ids is None and job.status in _WAITING
            ]
            if not waiting and not _failed_lately(store, kind.kind):
                self.submit(session, kind, VectorOrder())


def _failed_lately(store: JobStore, kind: str) -> bool:
    failed, succeeded = store.newest(kind, FAILED), store.newest(kind, SUCCEEDED)
    failed_at = (failed.finished_at or "") if failed else ""
    succeeded_at = (succeeded.finished_at or "") if succeeded else ""
    return failed_at > max(succeeded_at, utc_after(-_PAUSE_S))
