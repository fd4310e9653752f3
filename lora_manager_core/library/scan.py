"""The scan: compares the files below the roots with the catalogue and brings it up to date.

It lists first (stat and header), never hashes, opens nothing that has not changed, writes nothing
into the library, and goes on past every file it cannot read.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.writer import search_text
from lora_manager_core.backends.base import PromptName
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library import facts, safetensors_header
from lora_manager_core.library.ingest import merge_columns
from lora_manager_core.library.naming import record_name
from lora_manager_core.library.reading import FileReaders
from lora_manager_core.library.repository import KnownFile, LibraryRecords, LibraryWriter
from lora_manager_core.library.walk import FoundFile, walk_roots
from lora_manager_core.queueing.base import JobContext, JobProgress

#: Files per write unit: short enough that an edit waits only some ten milliseconds for it.
_BATCH = 200
#: Rows per statement where row numbers are listed.
_CHUNK = 5000

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


@dataclass(slots=True)
class _Plan:
    """The work of one scan: what to read, and what only to mark."""

    new: list[FoundFile] = field(default_factory=list)
    changed: list[tuple[FoundFile, KnownFile]] = field(default_factory=list)
    moved: list[tuple[FoundFile, KnownFile]] = field(default_factory=list)
    missing: list[KnownFile] = field(default_factory=list)
    unchanged: int = 0
    excluded: int = 0


class LibraryScan:
    """Runs as a job; `run` may be called as often as one likes."""

    def __init__(
        self,
        database: Database,
        library_roots: Callable[[], Sequence[Path]],
        prompt_namer: PromptNamer,
    ) -> None:
        self._database = database
        self._library_roots = library_roots
        self._prompt_namer = prompt_namer

    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Scan all roots; gives a `ScanReport` as a dict."""
        started = time.perf_counter()
        context.report(JobProgress(0.0, message="Looking through the folders"))
        walked = walk_roots(self._library_roots(), context.raise_if_cancelled)
        with self._database.read() as session:
            records = LibraryRecords(session)
            known = records.known_files()
            excluded = records.excluded_keys()
        problem_folders = [problem.path for problem in walked.problems]
        plan = _compare(walked.files, known, excluded, problem_folders)
        report = ScanReport(
            found=len(walked.files),
            added=len(plan.new),
            changed=len(plan.changed),
            moved=len(plan.moved),
            unchanged=plan.unchanged,
            missing=len(plan.missing),
            excluded=plan.excluded,
            problems=[asdict(problem) for problem in walked.problems],
        )
        present = [found for found in walked.files if found.key not in excluded]
        names = self._resolve(present) if _set_changed(plan) or _unresolved(known) else {}
        self._read_files(context, plan, {record.name for record in known}, names, report)
        self._mark_missing(plan.missing)
        if names:
            self._store_prompt_names(known, names)
        facts.forget_tables()
        safetensors_header.forget_tables()
        report.duration_s = round(time.perf_counter() - started, 3)
        context.report(JobProgress(1.0, message=f"{report.found} files"))
        return asdict(report)

    def _resolve(self, files: Sequence[FoundFile]) -> dict[str, PromptName]:
        paths = {found.key: Path(found.path) for found in files}
        resolved = self._prompt_namer(list(paths.values()))
        return {key: resolved[path] for key, path in paths.items() if path in resolved}

    def _read_files(
        self,
        context: JobContext,
        plan: _Plan,
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


def _compare(
    files: Sequence[FoundFile],
    known: Sequence[KnownFile],
    excluded: set[str],
    problem_folders: Sequence[str],
) -> _Plan:
    plan = _Plan()
    by_key: dict[str, list[KnownFile]] = {}
    for record in known:
        by_key.setdefault(record.key, []).append(record)
    for found in files:
        if found.key in excluded:
            by_key.pop(found.key, None)
            plan.excluded += 1
            continue
        records = by_key.pop(found.key, None)
        if records is None:
            plan.new.append(found)
            continue
        for record in records:
            if _same(found, record):
                plan.unchanged += 1
            else:
                plan.changed.append((found, record))
    gone = [
        record
        for records in by_key.values()
        for record in records
        if not any(_is_below(record.path, folder) for folder in problem_folders)
    ]
    _match_moved(plan, gone)
    plan.missing = [record for record in plan.missing if record.state != "missing"]
    return plan


def _match_moved(plan: _Plan, gone: Sequence[KnownFile]) -> None:
    """A new file with size and time stamp of exactly one that is gone is that file, moved."""
    new_marks = Counter((found.size, found.mtime_ns) for found in plan.new)
    gone_marks = Counter((record.size, record.mtime_ns) for record in gone)
    candidates = {
        (record.size, record.mtime_ns): record
        for record in gone
        if gone_marks[record.size, record.mtime_ns] == 1
    }
    still_new = []
    for found in plan.new:
        mark = (found.size, found.mtime_ns)
        record = candidates.pop(mark, None) if new_marks[mark] == 1 else None
        if record is None:
            still_new.append(found)
        else:
            plan.moved.append((found, record))
    moved = {record.pk for _, record in plan.moved}
    plan.new = still_new
    plan.missing = [record for record in gone if record.pk not in moved]


def _same(found: FoundFile, record: KnownFile) -> bool:
    return (
        record.state == "present"
        and found.size == record.size
        and found.mtime_ns == record.mtime_ns
        and found.side_signature == record.side_signature
        and found.path == record.path
    )


def _is_below(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)


def _set_changed(plan: _Plan) -> bool:
    """Whether names may resolve differently now: only a new, moved or gone file does that."""
    return bool(plan.new or plan.moved or plan.missing or plan.changed)


def _unresolved(known: Sequence[KnownFile]) -> bool:
    """Whether a record was never resolved, as imported ones are not."""
    return any(
        record.state == "present" and not record.prompt_name and not record.prompt_name_problem
        for record in known
    )


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
