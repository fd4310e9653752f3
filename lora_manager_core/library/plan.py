"""What a scan has to do: files as they are beside files as they are known."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from lora_manager_core.library.changes import is_below
from lora_manager_core.library.repository import KnownFile
from lora_manager_core.library.walk import FoundFile, Marks, WalkResult


@dataclass(slots=True)
class ScanPlan:
    """The work of one scan: what to read, and what only to mark."""

    new: list[FoundFile] = field(default_factory=list)
    changed: list[tuple[FoundFile, KnownFile]] = field(default_factory=list)
    moved: list[tuple[FoundFile, KnownFile]] = field(default_factory=list)
    missing: list[KnownFile] = field(default_factory=list)
    unchanged: int = 0
    excluded: int = 0


def known_marks(known: Sequence[KnownFile]) -> dict[str, Marks]:
    """By path, how each file was that is present; not where its records disagree."""
    marks: dict[str, Marks] = {}
    differing: set[str] = set()
    for record in known:
        own = (record.size, record.mtime_ns, record.side_signature)
        if record.state != "present" or marks.setdefault(record.path, own) != own:
            differing.add(record.path)
    for path in differing:
        marks.pop(path, None)
    return marks


def compare(
    walked: WalkResult,
    known: Sequence[KnownFile],
    excluded: set[str],
    problem_folders: Sequence[str],
) -> ScanPlan:
    """What is new, changed, moved and gone; below the problem folders nothing counts as gone."""
    plan = ScanPlan()
    unchanged = set(walked.unchanged)
    by_key: dict[str, list[KnownFile]] = {}
    for record in known:
        if record.path in unchanged:
            plan.unchanged += 1
        else:
            by_key.setdefault(record.key, []).append(record)
    for found in walked.files:
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
        if not any(is_below(record.path, folder) for folder in problem_folders)
    ]
    _match_moved(plan, gone)
    plan.missing = [record for record in plan.missing if record.state != "missing"]
    return plan


def _match_moved(plan: ScanPlan, gone: Sequence[KnownFile]) -> None:
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


def base_names(plan: ScanPlan) -> set[str]:
    """The base names of files that came or went: only files of the same can resolve otherwise."""
    paths = [found.path for found in plan.new]
    paths += [path for found, record in plan.moved for path in (found.path, record.path)]
    paths += [found.path for found, _ in plan.changed]
    paths += [record.path for record in plan.missing]
    return {base_name(path) for path in paths}


def base_name(path: str) -> str:
    """A file's name without its ending, `.` as `_`: files that differ in it share no name."""
    return os.path.basename(path).rpartition(".")[0].replace(".", "_")  # noqa: PTH119 - texts


def namesakes(
    plan: ScanPlan, named: Sequence[KnownFile], bases: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Key and path of every file of these base names, as it is once the plan is done."""
    gone = {record.pk for record in plan.missing} | {record.pk for _, record in plan.moved}
    for record in named:
        if record.pk not in gone and record.state == "present" and base_name(record.path) in bases:
            yield record.key, record.path
    for found in (*plan.new, *(f for f, _ in plan.moved), *(f for f, _ in plan.changed)):
        yield found.key, found.path


def unresolved_names(known: Sequence[KnownFile]) -> set[str]:
    """The base names of records that were never resolved, as imported ones are not."""
    return {
        base_name(record.path)
        for record in known
        if record.state == "present" and not record.prompt_name and not record.prompt_name_problem
    }
