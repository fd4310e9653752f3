"""What an import will do, decided before anything is written: wishes in, a plan out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lora_manager_core.common.paths import path_key
from lora_manager_core.import_export.archive.contents import ArchivedFile
from lora_manager_core.import_export.imports.repository import KnownRecord
from lora_manager_core.import_export.schemas import ImportConfig, ImportConflict, Rule

Kind = Literal["adapters", "files", "results", "choices"]
KINDS: tuple[Kind, ...] = ("adapters", "files", "results", "choices")
Status = Literal["created", "updated", "unchanged", "skipped"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How an archive is to be taken in.

    `rules` are by kind, `decisions` by the key of a conflict. `target` is the folder for model
    files. With `restore` everything here gives way to the archive; then `files` says whether model
    files are put back, too.
    """

    target: Path
    rules: Mapping[Kind, Rule] = field(default_factory=dict)
    decisions: Mapping[str, Rule] = field(default_factory=dict)
    allow_pickles: bool = False
    restore: bool = False
    files: bool = True

    @classmethod
    def of(cls, config: ImportConfig, target: Path) -> Wishes:
        """The wishes of a request."""
        rules: dict[Kind, Rule] = {
            kind: config.rules.get(kind, config.conflict_resolution) for kind in KINDS
        }
        return cls(target, rules, config.decisions, config.allow_pickles)

    def rule(self, kind: Kind, key: str) -> Rule:
        """What is to be done with a conflict: as it was decided, else by its kind."""
        return self.decisions.get(key) or self.rules.get(kind, "ask")


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to write; with `replace` it takes the place of the one that is there."""

    file: ArchivedFile
    destination: Path
    replace: bool = False


@dataclass(slots=True)
class PlannedAdapter:
    """What becomes of one archived adapter.

    `known` is the record here that changes, or stays as it is; without one a record is made, unless
    the adapter is skipped. `change` holds the archived columns to set. `path` is where its model
    file is or will be, `found` whether it is there in the end. `refresh` has the columns of the
    file's place filled anew, and `from_file` those of its contents too, as by a scan.
    """

    status: Status
    archived_id: str | None
    id: str
    name: str
    path: Path
    known: KnownRecord | None = None
    change: dict[str, Any] = field(default_factory=dict)
    found: bool = False
    refresh: bool = False
    from_file: bool = False
    note: str | None = None


@dataclass(slots=True)
class SetDecisions:
    """What becomes of archived collections, or of stacks, by their ids in the archive.

    `taken` has the id and the name that each gets here; those here of `gone` give way to them.
    `merged` has the ids of those here that are filled from them.
    """

    taken: dict[str, tuple[str, str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    merged: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class TableDecisions:
    """What is taken. Two of these are equal if the same would be done.

    `preferences` and `jobs` map archived ones to their ids here; those of `outdated` and `gone`
    give way to them. `events` are ids of feedback. Of the results in `rated`, only rating and
    favourite are filled in. `runs` are the archived numbers of new runs.
    """

    choices: set[str] = field(default_factory=set)
    excluded: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)
    preferences: dict[str, str] = field(default_factory=dict)
    outdated: set[str] = field(default_factory=set)
    collections: SetDecisions = field(default_factory=SetDecisions)
    stacks: SetDecisions = field(default_factory=SetDecisions)
    jobs: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    rated: set[str] = field(default_factory=set)
    runs: set[int] = field(default_factory=set)
    rows: dict[str, int] = field(default_factory=dict)
    conflicts: list[ImportConflict] = field(default_factory=list)

    def takes(self, table: str, row: Mapping[str, Any]) -> bool:
        """Whether a row of the archive goes in."""
        if table == "choices":
            return row["name"] in self.choices
        if table == "excluded_files":
            return row["file_key"] in self.excluded
        if table == "feedback_events":
            return row["id"] in self.events
        if table == "preferences":
            return row["id"] in self.preferences
        if table in ("collections", "collection_adapters"):
            return (
                row["id" if table == "collections" else "collection_id"] in self.collections.taken
            )
        if table in ("stacks", "stack_entries"):
            return row["id" if table == "stacks" else "stack_id"] in self.stacks.taken
        if table == "generation_runs":
            return row["id"] in self.runs
        if table == "run_adapters":
            return row["run_id"] in self.runs
        return row["id" if table == "jobs" else "job_id"] in self.jobs


@dataclass(slots=True)
class ImportPlan:
    """Everything an import will do.

    `assumed` are the records here that it relies on, in the state in which they were; `seen` the
    files, with size and time stamp (ns). `pictures` has the files of archived pictures, by job and
    number. `is_published`: its files are in their places, by an attempt to store it.
    """

    wishes: Wishes
    revision: int
    adapters: list[PlannedAdapter] = field(default_factory=list)
    conflicts: list[ImportConflict] = field(default_factory=list)
    writes: list[PlannedFile] = field(default_factory=list)
    assumed: frozenset[KnownRecord] = frozenset()
    seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    tables: TableDecisions = field(default_factory=TableDecisions)
    pictures: dict[tuple[str, int], Path] = field(default_factory=dict)
    is_published: bool = False

    @property
    def all_conflicts(self) -> list[ImportConflict]:
        """The conflicts of adapters, files and rows."""
        return [*self.conflicts, *self.tables.conflicts]

    @property
    def adapter_ids(self) -> dict[str, str]:
        """The ids here of archived adapters, by their ids in the archive."""
        return {a.archived_id: a.id for a in self.adapters if a.archived_id and a.id}

    @property
    def changes_nothing(self) -> bool:
        """Whether everything is here already, or is left as it is."""
        touched = any(a.status in ("created", "updated") for a in self.adapters)
        tables = self.tables
        filled = tables.rated or tables.collections.merged or tables.stacks.merged
        return not (touched or self.writes or tables.rows or filled)

    @property
    def is_blocked(self) -> bool:
        """Whether something is to be asked first, so that nothing may be imported."""
        return any(conflict.rule == "ask" for conflict in self.all_conflicts)

    @property
    def bytes_to_write(self) -> int:
        """How much has to be copied out of the archive."""
        return sum(write.file.size for write in self.writes)

    @property
    def replaced(self) -> list[Path]:
        """The files here whose places others take."""
        return [write.destination for write in self.writes if write.replace]

    def count(self, status: Status) -> int:
        """How many adapters end so."""
        return sum(adapter.status == status for adapter in self.adapters)


def relied_on(plan: ImportPlan, known: Sequence[KnownRecord]) -> frozenset[KnownRecord]:
    """Those of the records that a plan changes, keeps, or makes others beside."""
    numbers = {adapter.known.pk for adapter in plan.adapters if adapter.known is not None}
    ids = {adapter.id for adapter in plan.adapters}
    keys = {path_key(adapter.path) for adapter in plan.adapters}
    names = {adapter.name for adapter in plan.adapters}
    return frozenset(
        record
        for record in known
        if record.pk in numbers
        or record.id in ids
        or record.name in names
        or record.file_key in keys
    )
