"""The job that hashes model files: whatever is new, or changed since."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.turns import ComputeTurns
from lora_manager_core.library.hashing.known import HashableFile, KnownHashes
from lora_manager_core.library.hashing.moved import MovedFiles
from lora_manager_core.library.hashing.pace import HashPace
from lora_manager_core.library.hashing.repository import HashStore, HashWriter
from lora_manager_core.library.hashing.workers import HashedFile, HashWorkers
from lora_manager_core.queueing.base import JobContext, JobProgress

HASH_JOB = "library.hash"
#: Files per commit, and for how long at most what is done waits for one.
_BATCH = 500
_LONGEST_S = 3.0
#: Files whose known hashes are asked for at once.
_ASKED = 1000
#: Problems of single files that a job's result tells; the records have them all.
_MOST_ERRORS = 100


@dataclass(slots=True)
class HashReport:
    """What a job did, in files. `known` were hashed by somebody else, `changed` are left to a scan.

    `reunited` were moved, and have their old record back. `told_otherwise` are those whose side
    files tell of another hash, and so perhaps of another model.
    """

    hashed: int = 0
    known: int = 0
    changed: int = 0
    failed: int = 0
    reunited: int = 0
    read_bytes: int = 0
    duration_s: float = 0.0
    told_otherwise: list[dict[str, str]] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)


class HashJob:
    """Hashes what is due. It may be killed at any moment and run again: it stores as it goes."""

    def __init__(
        self,
        database: Database,
        turns: ComputeTurns,
        known: KnownHashes,
        moved: MovedFiles,
        threads: int | None = None,
    ) -> None:
        """`threads` as for `HashWorkers`."""
        self._database = database
        self._turns = turns
        self._known = known
        self._moved = moved
        self._threads = threads
        #: How fast the job that runs in this process is; None while none does.
        self.pace: HashPace | None = None

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Hash what is due, with `retry_failed` also what could not be; gives a `HashReport`."""
        started = time.monotonic()
        context.report(JobProgress(0.0, message="Looking for files that are not hashed"))
        if context.payload.get("retry_failed"):
            with self._database.write() as session:
                HashWriter(session).forget_failures()
        with self._database.read() as session:
            files = HashStore(session).due()
        report = HashReport(reunited=len(self._moved.reunite()))
        self.pace = HashPace(context, len(files), sum(file.size for file in files))
        try:
            self._hash(context, self._take_known(context, files, report), report)
        finally:
            self.pace = None
        report.duration_s = round(time.monotonic() - started, 3)
        return asdict(report)

    def _take_known(
        self, context: JobContext, files: Sequence[HashableFile], report: HashReport
    ) -> list[HashableFile]:
        """Store what somebody else has hashed; gives the others."""
        left: list[HashableFile] = []
        for start in range(0, len(files), _ASKED):
            context.raise_if_cancelled()
            some = files[start : start + _ASKED]
            known = self._known.known(some)
            taken = [HashedFile(file, known[file.path]) for file in some if file.path in known]
            if taken:
                self._store(taken, report)
                report.known += len(taken)
                self._paced().skip(len(taken), sum(one.file.size for one in taken))
            left += [file for file in some if file.path not in known]
        return left

    def _hash(self, context: JobContext, files: Sequence[HashableFile], report: HashReport) -> None:
        pace = self._paced()
        workers = HashWorkers(lambda: self._wait(context), self._threads)
        done: list[HashedFile] = []
        stored_at = time.monotonic()
        with closing(workers.results(files)) as results:
            for some in results:
                done += some
                report.hashed += sum(one.hashes is not None for one in some)
                late = time.monotonic() - stored_at > _LONGEST_S
                if len(done) >= _BATCH or late:
                    self._store(done, report)
                    done, stored_at = [], time.monotonic()
                pace.add(some, workers.read)
                context.raise_if_cancelled()
        self._store(done, report)
        pace.finish(workers.read)
        report.read_bytes = workers.read

    def _wait(self, context: JobContext) -> None:
        with self._turns.turn("cpu", context.is_cancelled):
            context.raise_if_cancelled()

    def _store(self, done: Sequence[HashedFile], report: HashReport) -> None:
        if not done:
            return
        with self._database.write() as session:
            writer = HashWriter(session)
            stored = writer.put(done)
            told = writer.told_otherwise(stored)
        report.changed += sum(not stored.intersection(one.file.numbers) for one in done)
        for one in done:
            if one.problem is not None:
                report.failed += 1
                _note(report.errors, one.file.path, one.problem)
        for adapter_id, path in told:
            _note(
                report.told_otherwise, path, f"Its side files tell of another file: {adapter_id}."
            )
        hashes = {one.hashes.whole for one in done if one.hashes is not None}
        report.reunited += len(self._moved.reunite(hashes))

    def _paced(self) -> HashPace:
        assert self.pace is not None
        return self.pace


def _note(notes: list[dict[str, str]], path: str, detail: str) -> None:
    if len(notes) < _MOST_ERRORS:
        notes.append({"file_path": path, "detail": detail})
