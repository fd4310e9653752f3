"""What a person does with the library as a whole: look at it, scan it, read a file's header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.common.paths import require_inside
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import InvalidRequest
from lora_manager_core.library.hashing.service import HashingService
from lora_manager_core.library.repository import LibraryRecords
from lora_manager_core.library.safetensors_header import HeaderUnreadable, read_header
from lora_manager_core.library.scan import SCAN_JOB, LibraryScan
from lora_manager_core.library.watching.service import LibraryWatch
from lora_manager_core.queueing.base import LIBRARY_LANE, SUCCEEDED, JobContext, JobOutcome
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore


class LibraryService:
    """The library folders and the job that keeps the catalogue in step with them.

    `on_scanned` is called after each scan job that succeeded.
    """

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        adapters: AdapterService,
        scan: LibraryScan,
        hashing: HashingService,
        watch: LibraryWatch,
        library_roots: Callable[[], Sequence[Path]],
        on_scanned: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._adapters = adapters
        self._scan = scan
        self._hashing = hashing
        self._watch = watch
        self._library_roots = library_roots
        self._on_scanned = on_scanned
        runner.register(SCAN_JOB, self._run_scan)

    @property
    def has_roots(self) -> bool:
        """Whether any library folder is configured."""
        return bool(self._library_roots())

    def overview(self) -> dict[str, Any]:
        """Roots with their problems, counts, and the state of scanning."""
        with self._database.read() as session:
            store = JobStore(session)
            running, last = store.find_unfinished(SCAN_JOB), store.newest(SCAN_JOB, SUCCEEDED)
            counts = LibraryRecords(session).counts()
            excluded = len(Adapters(session).excluded())
        return {
            "roots": [_root(path) for path in self._library_roots()],
            **counts,
            "excluded": excluded,
            "watching": asdict(self._watch.state()),
            "scanning_job_id": running.id if running else None,
            "last_scan": {**(last.result or {}), "finished_at": last.finished_at} if last else None,
            "hashing": self._hashing.overview(),
        }

    def start_scan(self) -> Job:
        """Start a scan, or give the one that is under way.

        Raises:
            InvalidRequest: no library folder is configured.
        """
        if not self.has_roots:
            raise InvalidRequest(
                "No library folder is configured; set LIBRARY_ROOTS or start with --library DIR."
            )
        with self._database.write() as session:
            running = JobStore(session).find_unfinished(SCAN_JOB)
            return running or self._jobs.submit(session, SCAN_JOB, LIBRARY_LANE, {})

    def header(self, adapter_id: str) -> dict[str, Any]:
        """The header of an adapter's file: metadata and tensor table.

        Raises:
            InvalidRequest: the file cannot be read as safetensors.
        """
        record = self._adapters.get(adapter_id)
        path = require_inside(record["file_path"], self._library_roots(), "The model file")
        if path.suffix.lower() != ".safetensors":
            raise InvalidRequest("Only .safetensors files have a header that can be read safely.")
        try:
            header = read_header(path)
        except HeaderUnreadable as error:
            raise InvalidRequest(f"The header cannot be read: {error.reason}") from error
        return {
            "metadata": dict(header.metadata),
            "tensors": header.tensors,
            "file_size": header.file_size,
            "data_start": header.data_start,
        }

    def _run_scan(self, context: JobContext) -> JobOutcome:
        return JobOutcome(self._scan.run(context), done=self._on_scanned)


def _root(path: Path) -> dict[str, Any]:
    problem = None
    if not path.exists():
        problem = "The folder does not exist; create it, or correct the path in the settings."
    elif not path.is_dir():
        problem = "This is a file, not a folder; correct the path in the settings."
    return {"path": str(path), "ok": problem is None, "problem": problem}
