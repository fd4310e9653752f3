"""What a person does with hashes: have them made, one at once, and see how far they are."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.common.paths import require_inside
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import AdapterNotFound, Busy, InvalidRequest, LibraryChanged
from lora_manager_core.library.hashing.job import HASH_JOB, HashJob
from lora_manager_core.library.hashing.moved import MovedFiles
from lora_manager_core.library.hashing.moved_repository import MovedStore
from lora_manager_core.library.hashing.repository import HashStore, HashWriter
from lora_manager_core.library.hashing.workers import hash_one
from lora_manager_core.queueing.base import HASHING_LANE, PENDING, RETRYING
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore

_log = logging.getLogger(__name__)

#: Callers whose file is hashed while they wait: each holds one of the server's threads.
_MOST_AT_ONCE = 2
#: Files that failed, of those the overview tells.
_TOLD_PROBLEMS = 20


class HashingService:
    """The hashes of this installation. `auto` off: only what people ask for is hashed."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        adapters: AdapterService,
        job: HashJob,
        moved: MovedFiles,
        library_roots: Callable[[], Sequence[Path]],
        auto: bool,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._adapters = adapters
        self._job = job
        self._moved = moved
        self._library_roots = library_roots
        self._auto = auto
        self._at_once = threading.BoundedSemaphore(_MOST_AT_ONCE)
        runner.register(HASH_JOB, job.run)

    def start(self) -> Job:
        """Have everything hashed that is not, also what failed before; or the job that does."""
        with self._database.write() as session:
            running = JobStore(session).find_unfinished(HASH_JOB)
            payload = {"retry_failed": True}
            return running or self._jobs.submit(session, HASH_JOB, HASHING_LANE, payload)

    def catch_up(self) -> None:
        """Have new and changed files hashed, unless a job for it waits already.

        Quick, and never raises: what it cannot do now is done after the next scan.
        """
        if not self._auto:
            return
        try:
            self._catch_up()
        except SQLAlchemyError:
            _log.warning("hashes were not looked after", exc_info=True)

    def hash_now(self, adapter_id: str) -> dict[str, Any]:
        """Hash the file of one adapter and give its record: an older one if it was only moved.

        Raises:
            AdapterNotFound: no such adapter.
            InvalidRequest: its file cannot be read.
            LibraryChanged: its file is gone, or another one since the last scan.
            Busy: other callers wait for this already.
        """
        with self._database.read() as session:
            file = HashStore(session).file_of(adapter_id)
        if file is None:
            raise AdapterNotFound(f"There is no adapter {adapter_id}.")
        require_inside(file.path, self._library_roots(), "The model file")
        if not self._at_once.acquire(blocking=False):
            raise Busy("Other files are being hashed just now; try again in some seconds.")
        try:
            result = hash_one(file)
        finally:
            self._at_once.release()
        with self._database.write() as session:
            stored = HashWriter(session).put([result])
        if not stored:
            raise LibraryChanged(
                "The file is gone or was changed since the last scan; scan the library, then ask "
                "again."
            )
        if result.hashes is None:
            raise InvalidRequest(result.problem or "The file cannot be read.")
        moved = self._moved.reunite([result.hashes.whole])
        return self._adapters.get(moved.get(adapter_id, adapter_id))

    def overview(self) -> dict[str, Any]:
        """Counts by state, what failed and why, and the pace of the job that runs."""
        with self._database.read() as session:
            store = HashStore(session)
            counts, problems = store.counts(), store.problems(_TOLD_PROBLEMS)
            job = JobStore(session).find_unfinished(HASH_JOB)
        pace = self._job.pace
        return {
            "done": counts.done,
            "pending": counts.pending,
            "pending_bytes": counts.pending_bytes,
            "failed": counts.failed,
            "problems": [
                {"adapter_id": p.adapter_id, "file_path": p.file_path, "detail": p.problem}
                for p in problems
            ],
            "job_id": job.id if job else None,
            "message": job.message if job else None,
            "bytes_per_s": pace.bytes_per_s if pace else None,
            "eta_s": pace.left_s if pace else job.eta_s if job else None,
        }

    def _catch_up(self) -> None:
        with self._database.read() as session:
            if not HashStore(session).any_due() and not MovedStore(session).untouched():
                return
        with self._database.write() as session:
            # A job that runs already found out at its start what is due.
            unfinished = JobStore(session).list_unfinished((HASH_JOB,))
            if not any(job.status in (PENDING, RETRYING) for job in unfinished):
                self._jobs.submit(session, HASH_JOB, HASHING_LANE, {})
