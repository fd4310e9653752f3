"""The scan: compares the files below the roots with the catalogue and brings it up to date.

It lists first (stat and header), never hashes, opens nothing that has not changed, writes nothing
into the library, and goes on past every file it cannot read.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.writer import search_text
from lora_manager_core.backends.base import PromptName
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library import facts, safetensors_header
from lora_manager_core.library.changes import is_below, look_at
from lora_manager_core.library.ingest import merge_columns
from lora_manager_core.library.naming import record_name
from lora_manager_core.library.plan import (
    ScanPlan,
    base_names,
    compare,
    known_marks,
    namesakes,
    unresolved_names,
)
from lora_manager_core.library.reading import FileReaders
from lora_manager_core.library.repository import KnownFile, LibraryRecords, LibraryWriter
from lora_manager_core.library.walk import FoundFile, WalkResult, walk_roots
from lora_manager_core.queueing.base import JobContext, JobProgress

#: The kind of the job that runs a whole scan.
SCAN_JOB = "library.scan"
#: Files per write unit: short enough that an edit waits only some ten milliseconds for it.
_BATCH = 200
#: How often a scan that waits for another looks whether it is to stop, in seconds.
_LOOK_S = 0.2
#: Rows per statement where row numbers are listed.
_CHUNK = 5000

#: The counts of a report that say that something changed.
CHANGED = ("added", "changed", "moved", "missing")

PromptNamer = Callable[[Sequence[Path]], Mapping[Path, PromptName]]


@dataclass(slots=True)
class ScanReport:
    """What a scan did; counts of files, and the folders it could not look into."""

    found: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    unchanged: int = 0
    missing: int = 0
    excluded: int = 0
    unreadable: int = 0
    duration_s: float = 0.0
    problems: list[dict[str, str]] = field(default_factory=list)


class LibraryScan:
    """Runs as a job; `run` and `run_paths` may be called as often as one likes.

    One works at a time; another waits for it. Folders of `skip` are passed over. `on_change` is
    given the report of each that changed a record, once that can be seen.
    """

    def __init__(
        self,
        database: Database,
        library_roots: Callable[[], Sequence[Path]],
        prompt_namer: PromptNamer,
        skip: Sequence[Path] = (),
        on_change: Callable[[Mapping[str, Any]], None] = lambda _report: None,
    ) -> None:
        self._database = database
        self._library_roots = library_roots
        self._prompt_namer = prompt_namer
        self._skip = tuple(skip)
        self._on_change = on_change
        self._turn = threading.Lock()

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Scan all roots; gives a `ScanReport` as a dict."""
        with self._my_turn(context):
            started = time.perf_counter()
            context.report(JobProgress(0.0, message="Looking through the folders"))
            with self._database.read() as session:
                known = LibraryRecords(session).known_files()
            walked = walk_roots(
                self._library_roots(), context.raise_if_cancelled, self._skip, known_marks(known)
            )
            return self._bring_in(context, started, walked, known, is_all=True)

    def run_paths(self, paths: Iterable[Path], context: JobContext) -> Mapping[str, Any]:
        """The same for these files and folders only, and for what was known at or below them.

        They may be models, side files or folders, new, changed or gone, and are spelled as records
        spell them; those outside the roots are passed over. The report counts only what they are.
        """
        with self._my_turn(context):
            started = time.perf_counter()
            roots = self._library_roots()
            changes = look_at(paths, roots, context.raise_if_cancelled, self._skip)
            with self._database.read() as session:
                records = LibraryRecords(session)
                known = records.known_at(changes.keys, changes.below)
                known += _left_behind(records, changes.walked.files, known, roots)
            return self._bring_in(context, started, changes.walked, known, is_all=False)

    def refresh_names(self) -> None:
        """Resolve the names of all files again: the backend's list of them has changed."""
        with self._turn:
            with self._database.read() as session:
                known = LibraryRecords(session).known_files()
            present = {record.key: Path(record.path) for record in known if record.is_present}
            resolved = self._prompt_namer(list(present.values()))
            names = {key: resolved[path] for key, path in present.items() if path in resolved}
            self._store_prompt_names(known, names)

    @contextmanager
    def _my_turn(self, context: JobContext) -> Iterator[None]:
        while not self._turn.acquire(timeout=_LOOK_S):
            context.raise_if_cancelled()
        try:
            yield
        finally:
            self._turn.release()

    def _bring_in(
        self,
        context: JobContext,
        started: float,
        walked: WalkResult,
        known: Sequence[KnownFile],
        is_all: bool,
    ) -> Mapping[str, Any]:
        """Make true what a walk found, beside all that is `known` where it looked."""
        with self._database.read() as session:
            excluded = LibraryRecords(session).excluded_keys()
        problem_folders = [problem.path for problem in walked.problems]
        plan = compare(walked, known, excluded, problem_folders)
        report = ScanReport(
            found=len(walked.files) + len(walked.unchanged),
            added=len(plan.new),
            changed=len(plan.changed),
            moved=len(plan.moved),
            unchanged=plan.unchanged,
            missing=len(plan.missing),
            excluded=plan.excluded,
            problems=[asdict(problem) for problem in walked.problems],
        )
        named, names = self._names(plan, known, is_all)
        self._read_files(context, plan, {record.name for record in known}, names, report)
        self._mark_missing(plan.missing)
        if names:
            self._store_prompt_names(named, names)
        facts.forget_tables()
        safetensors_header.forget_tables()
        report.duration_s = round(time.perf_counter() - started, 3)
        context.report(JobProgress(1.0, message=f"{report.found} files"))
        told = asdict(report)
        if any(told[name] for name in CHANGED):
            self._on_change(told)
        return told

    def _names(
        self, plan: ScanPlan, known: Sequence[KnownFile], is_all: bool
    ) -> tuple[Sequence[KnownFile], Mapping[str, PromptName]]:
        """What resolves to each file, by key, wherever that can have changed; and whose it is."""
        bases = base_names(plan) | unresolved_names(known)
        if not bases:
            return (), {}
        named = known
        if not is_all:
            with self._database.read() as session:
                named = LibraryRecords(session).known_named(bases)
        paths = {key: Path(path) for key, path in namesakes(plan, named, bases)}
        resolved = self._prompt_namer(list(paths.values()))
        return named, {key: resolved[path] for key, path in paths.items() if path in resolved}

    def _read_files(
        self,
        context: JobContext,
        plan: ScanPlan,
        taken: set[str],
        names: Mapping[str, PromptName],
        report: ScanReport,
    ) -> None:
        work: list[tuple[FoundFile, KnownFile | None]] = [
            *((found, None) for found in plan.new),
            *plan.changed,
            *plan.moved,
        ]
        batches = [work[start : start + _BATCH] for start in range(0, len(work), _BATCH)]
        files = [[found for found, _ in batch] for batch in batches]
        done = 0
        with FileReaders(len(work)) as readers:
            for batch, rows in zip(batches, readers.batches(files), strict=True):
                context.raise_if_cancelled()
                for (found, _), row in zip(batch, rows, strict=True):
                    named = names.get(found.key, PromptName(None))
                    row["prompt_name"], row["prompt_name_problem"] = named.name, named.problem
                pairs = zip((record for _, record in batch), rows, strict=True)
                self._store(list(pairs), taken, report)
                done += len(batch)
                message = f"Read {done} of {len(work)} files"
                context.report(JobProgress(done / len(work), done, len(work), message=message))

    def _store(
        self,
        rows: Sequence[tuple[KnownFile | None, dict[str, Any]]],
        taken: set[str],
        report: ScanReport,
    ) -> None:
        now = utc_now()
        report.unreadable += sum(row["file_problem"] is not None for _, row in rows)
        with self._database.write() as session:
            writer, records = LibraryWriter(session), LibraryRecords(session)
            new = [row for record, row in rows if record is None]
            writer.insert_rows(_named(records, new, taken, now))
            updates = {record.pk: row for record, row in rows if record is not None}
            stored = records.by_row_number(list(updates))
            changes = []
            for pk, row in updates.items():
                if pk in stored:  # else it was deleted meanwhile
                    change = merge_columns(stored[pk], row)
                    change.update(pk=pk, updated_at=now)
                    changes.append(change)
            writer.update_rows(changes)

    def _mark_missing(self, records: Sequence[KnownFile]) -> None:
        numbers = [record.pk for record in records]
        for start in range(0, len(numbers), _CHUNK):
            with self._database.write() as session:
                LibraryWriter(session).mark_missing(numbers[start : start + _CHUNK], utc_now())

    def _store_prompt_names(
        self, known: Sequence[KnownFile], names: Mapping[str, PromptName]
    ) -> None:
        rows = []
        for record in known:
            named = names.get(record.key)
            if named is not None and (named.name, named.problem) != (
                record.prompt_name,
                record.prompt_name_problem,
            ):
                rows.append(
                    {
                        "pk": record.pk,
                        "prompt_name": named.name,
                        "prompt_name_problem": named.problem,
                    }
                )
        for start in range(0, len(rows), _CHUNK):
            with self._database.write() as session:
                LibraryWriter(session).set_prompt_names(rows[start : start + _CHUNK])


def _left_behind(
    records: LibraryRecords,
    files: Sequence[FoundFile],
    known: Sequence[KnownFile],
    roots: Sequence[Path],
) -> list[KnownFile]:
    """Records elsewhere of which a new file may be the moved one: alike, and their file is gone.

    A file whose root is gone, as a drive may be, is only out of reach.
    """
    keys = {record.key for record in known}
    marks = {(found.size, found.mtime_ns) for found in files if found.key not in keys}
    there = [str(root.absolute()) for root in roots if root.is_dir()]
    return [
        record
        for record in records.known_like(marks)
        if record.key not in keys
        and not os.path.lexists(record.path)
        and any(is_below(record.path, root) for root in there)
    ]


def _named(
    records: LibraryRecords, rows: Sequence[dict[str, Any]], taken: set[str], now: str
) -> list[dict[str, Any]]:
    """New rows with free names, but for files that somebody added while the scan was reading.

    `taken` is what was known when the scan began; names given since then are asked for.
    """
    added = records.known_keys([row["file_key"] for row in rows])
    left = [row for row in rows if row["file_key"] not in added]
    while True:
        trial = set(taken)
        named = [_new_row(row, trial, now) for row in left]
        since = records.known_names([row["name"] for row in named])
        if not since:
            taken.update(trial)
            return named
        taken.update(since)


def _new_row(row: Mapping[str, Any], taken: set[str], now: str) -> dict[str, Any]:
    name = record_name(row["stem"], row["folder"], taken)
    taken.add(name)
    new: dict[str, Any] = {
        **row,
        "id": str(uuid.uuid4()),
        "name": name,
        "name_key": name.casefold(),
        "version_key": row["version"] or "",
        "origin": "scan",
        "created_at": now,
        "updated_at": now,
        "last_ingested_at": now,
    }
    del new["stem"]
    new["search_text"] = search_text(new)
    return new
