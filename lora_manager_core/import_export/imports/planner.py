"""Makes the plan of an import: what each archived adapter meets here, and what is done then."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.writer import is_untouched
from lora_manager_core.common.paths import path_key
from lora_manager_core.import_export.archive.contents import Archive, ArchivedRecord
from lora_manager_core.import_export.imports.matching import (
    COMPARED,
    OF_FILE,
    Matcher,
    differences,
    filled,
    merged,
)
from lora_manager_core.import_export.imports.placing import Layout, Places, stem_of
from lora_manager_core.import_export.imports.plan import (
    ImportPlan,
    Kind,
    PlannedAdapter,
    PlannedFile,
    Wishes,
    relied_on,
)
from lora_manager_core.import_export.imports.record_names import give_names
from lora_manager_core.import_export.imports.repository import KnownRecord
from lora_manager_core.import_export.schemas import ImportConflict, Rule

#: What differs when the model files do.
_CONTENTS = "model file"


class Planner:
    """The plan of one archive. `columns_of` gives the archived columns of records here."""

    def __init__(
        self,
        archive: Archive,
        wishes: Wishes,
        revision: int,
        known: Sequence[KnownRecord],
        places: Places,
        columns_of: Callable[[Sequence[int]], Mapping[int, Mapping[str, Any]]],
    ) -> None:
        self._archive = archive
        self._wishes = wishes
        self._known = known
        self._places = places
        self._columns_of = columns_of
        self._plan = ImportPlan(wishes, revision)
        self._ids = {record.id for record in known}
        self._keys = {record.file_key for record in known}
        #: Records here that nothing of the archive is matched with.
        self._free: set[int] = set()

    def make(self) -> ImportPlan:
        """Decide everything.

        Raises:
            ArchiveRefused: the archive is damaged.
            StorageFailed: a file here cannot be read.
        """
        archived = [self._by_people(record) for record in self._archive.adapters()]
        attached, same = {}, {}
        for number, record in enumerate(archived):
            found = None if record.model is not None else self._places.attach(record)
            if found is not None:
                attached[number], same[number] = Path(found.path), found.key
            elif record.model is not None and record.columns.get("id") not in self._ids:
                model = self._lay_out(record, None).model
                if model is not None and model.is_same:
                    same[number] = path_key(model.destination)
        matcher = Matcher(self._known)
        matches = matcher.match(archived, same)
        ours = self._columns_of([known.pk for known in matches.values()])
        met = {known.pk for known in matches.values()}
        self._free = {known.pk for known in self._known if known.pk not in met}
        for number, record in enumerate(archived):
            known = matches.get(number)
            if known is not None:
                self._met(record, known, ours[known.pk], attached.get(number))
            else:
                beside = matcher.at(path_key(self._folder(record) / record.file_name))
                self._new(record, attached.get(number), [k for k in beside if k.pk in self._free])
        give_names(self._plan, self._known, self._wishes.target)
        self._plan.assumed = relied_on(self._plan, self._known)
        self._plan.seen = self._places.seen
        return self._plan

    def _by_people(self, record: ArchivedRecord) -> ArchivedRecord:
        """With whose word its columns are: other programs keep what people wrote, and no scans."""
        if self._archive.maker != "lora-api":
            return record
        edited = sorted(record.columns.keys() & set(COMPARED))
        columns = {**record.columns, "origin": "person", "edited_fields": edited}
        return dataclasses.replace(record, columns=columns)

    def _met(
        self,
        record: ArchivedRecord,
        known: KnownRecord,
        ours: Mapping[str, Any],
        attached: Path | None,
    ) -> None:
        """An adapter of which there is a record here."""
        here = self._places.models.get(known.file_key)
        if attached is not None and path_key(attached) in self._keys:
            attached = None  # it has a record of its own
        layout = self._lay_out(record, Path(here.path) if here is not None else attached)
        if here is None and attached is None and (layout.collisions or layout.is_claimed):
            layout = self._numbered(record)
        differing = differences(ours, record.columns, known.edited_fields)
        model = layout.model
        if model is not None and model.collides:
            differing.append(_CONTENTS)
        if not differing:
            change = filled(ours, record.columns, known.edited_fields)
            if is_untouched(known):
                change = self._adopted(record, known, ours)
            self._keep(record, known, layout, change)
        elif is_untouched(known) and _CONTENTS not in differing:
            self._keep(record, known, layout, self._adopted(record, known, ours))
        else:
            self._resolve(record, known, ours, layout, differing)

    def _resolve(
        self,
        record: ArchivedRecord,
        known: KnownRecord,
        ours: Mapping[str, Any],
        layout: Layout,
        differing: list[str],
    ) -> None:
        rule = self._conflict(
            "adapters",
            record.columns.get("id") or f"{record.folder}/{record.file_name}",
            known.name,
            "An adapter here is the same and says something else.",
            differing,
        )
        if rule == "replace":
            change = {k: v for k, v in record.columns.items() if k != "id"}
            self._update(record, known, layout, change, replace=True)
        elif rule == "merge":
            change = merged(ours, record.columns, known.edited_fields)
            self._update(record, known, layout, change, replace=False)
        elif rule == "rename":
            if _CONTENTS in differing or known.file_key not in self._places.models:
                layout = self._lay_out(record, None)
                if layout.collisions or layout.is_claimed:
                    layout = self._numbered(record)
            self._create(record, layout, "Kept beside the one that is here.")
        else:
            self._leave(record, known)

    def _keep(
        self,
        record: ArchivedRecord,
        known: KnownRecord,
        layout: Layout,
        change: dict[str, Any],
    ) -> None:
        """A record that needs no decision; files beside it may."""
        replace = False
        if layout.collisions:
            replace = self._file_conflict(record, layout) == "replace"
        self._update(record, known, layout, change, replace)

    def _new(
        self, record: ArchivedRecord, attached: Path | None, beside: Sequence[KnownRecord]
    ) -> None:
        """An adapter that is not here. `beside` are records here of the file in its place."""
        layout = self._lay_out(record, attached)
        note = None
        if record.model is None and attached is None:
            note = "Its model file is not in the archive, and not here."
            if layout.path.exists():
                layout = self._numbered(record)
        replace = False
        if layout.is_claimed:
            layout = self._numbered(record)
        elif layout.collisions:
            rule = self._file_conflict(record, layout)
            model = layout.model
            replace = rule == "replace"
            if rule == "rename" and attached is None:
                layout = self._numbered(record)
            elif replace and model is not None and model.collides and beside:
                self._replaced_file(record, beside, layout)
                return
            elif not replace and model is not None and model.collides:
                self._skip(record, layout, "A file here has the name of its model file.")
                return
        self._create(record, layout, note, replace)

    def _replaced_file(
        self, record: ArchivedRecord, beside: Sequence[KnownRecord], layout: Layout
    ) -> None:
        """A file here is replaced whose record nobody touched, or of which the archive only knows
        the file: the record stays and follows the file.
        """
        untouched = next((known for known in beside if is_untouched(known)), None)
        self._free.discard((untouched or beside[0]).pk)
        if "name" not in record.columns:
            self._update(record, untouched or beside[0], layout, {}, replace=True)
        elif untouched is not None:
            ours = self._columns_of([untouched.pk])[untouched.pk]
            change = self._adopted(record, untouched, ours)
            self._update(record, untouched, layout, change, replace=True)
        else:
            self._create(record, layout, None, replace=True)

    def _adopted(
        self, record: ArchivedRecord, known: KnownRecord, ours: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What a record that nobody touched takes over: all that differs, and the id if free."""
        change = {k: v for k, v in record.columns.items() if ours[k] != v}
        if change.keys() <= OF_FILE:
            return {}
        if "id" in change:
            if change["id"] in self._ids:
                del change["id"]
            else:
                self._ids.add(change["id"])
        if known.active:  # switched on, which is no word about the adapter
            change.pop("active", None)
            change.pop("ordinal", None)
        return change

    def _create(
        self,
        record: ArchivedRecord,
        layout: Layout,
        note: str | None,
        replace: bool = False,
    ) -> None:
        columns = dict(record.columns)
        archived_id = columns.get("id")
        if archived_id is None or archived_id in self._ids:
            columns["id"] = str(uuid.uuid4())
        self._ids.add(columns["id"])
        found = self._write(record, layout, replace) or layout.path.exists()
        self._plan.adapters.append(
            PlannedAdapter(
                status="created",
                archived_id=archived_id,
                id=columns["id"],
                name=columns.get("name", ""),
                path=layout.path,
                change=columns,
                found=found,
                refresh=found,
                from_file=self._archive.maker != "lora-manager",
                note=note,
            )
        )

    def _update(
        self,
        record: ArchivedRecord,
        known: KnownRecord,
        layout: Layout,
        change: dict[str, Any],
        replace: bool,
    ) -> None:
        writes = len(self._plan.writes)
        written = self._write(record, layout, replace)
        here = self._places.models.get(known.file_key)
        moved = here is None and path_key(layout.path) in self._places.models
        as_scanned = here is not None and (here.size, here.mtime_ns) == (
            known.file_size,
            known.file_mtime_ns,
        )
        new_files = len(self._plan.writes) > writes
        # Else the next scan is to see that the file changed, and to read it.
        refresh = (new_files or bool(change) or moved) and (
            (written and "name" in record.columns) or as_scanned or moved
        )
        found = written or moved or here is not None
        if not refresh:
            change = {k: v for k, v in change.items() if k not in ("file_size", "file_mtime_ns")}
        self._plan.adapters.append(
            PlannedAdapter(
                status="updated" if change or new_files or moved else "unchanged",
                archived_id=record.columns.get("id"),
                id=change.get("id", known.id),
                name=change.get("name", known.name),
                path=layout.path if found else Path(known.file_path),
                known=known,
                change=change,
                found=found,
                refresh=refresh,
            )
        )

    def _leave(self, record: ArchivedRecord, known: KnownRecord) -> None:
        self._plan.adapters.append(
            PlannedAdapter(
                status="skipped",
                archived_id=record.columns.get("id"),
                id=known.id,
                name=known.name,
                path=Path(known.file_path),
                known=known,
            )
        )

    def _skip(self, record: ArchivedRecord, layout: Layout, note: str) -> None:
        self._plan.adapters.append(
            PlannedAdapter(
                status="skipped",
                archived_id=record.columns.get("id"),
                id="",
                name=record.columns.get("name", record.file_name),
                path=layout.path,
                note=note,
            )
        )

    def _write(self, record: ArchivedRecord, layout: Layout, replace: bool) -> bool:
        """Plan the files of a layout; gives whether its model file will be there by that."""
        self._places.claim(record, layout)
        model_is_there = False
        for placed in layout.files:
            there = placed.is_same or placed.is_shared
            if not there and not placed.is_taken and (placed.present is None or replace):
                is_replaced = placed.present is not None
                self._plan.writes.append(PlannedFile(placed.file, placed.destination, is_replaced))
                there = True
            model_is_there = model_is_there or (there and placed.file.kind == "model")
        return model_is_there

    def _file_conflict(self, record: ArchivedRecord, layout: Layout) -> Rule:
        return self._conflict(
            "files",
            f"{record.folder}/{record.file_name}".lstrip("/"),
            str(layout.path),
            "Files of these names are here, with other contents.",
            [placed.destination.name for placed in layout.collisions],
        )

    def _conflict(self, kind: Kind, key: str, name: str, problem: str, differs: list[str]) -> Rule:
        key = f"{kind}:{key}"
        rule = self._wishes.rule(kind, key)
        self._plan.conflicts.append(
            ImportConflict(
                key=key, kind=kind, name=name, problem=problem, rule=rule, differs=differs
            )
        )
        return rule

    def _lay_out(self, record: ArchivedRecord, beside: Path | None) -> Layout:
        """Beside a file that is here, or where the wishes and the archive say."""
        folder = self._folder(record) if beside is None else beside.parent
        stem = stem_of(record.file_name if beside is None else beside.name)
        return self._places.lay_out(record, folder, stem)

    def _numbered(self, record: ArchivedRecord) -> Layout:
        return self._places.number(record, self._folder(record), stem_of(record.file_name))

    def _folder(self, record: ArchivedRecord) -> Path:
        return self._wishes.target / record.folder if record.folder else self._wishes.target

    def _target_key(self, record: ArchivedRecord) -> str:
        return path_key(self._folder(record) / record.file_name)

    def _note_assumptions(self) -> None:
        self._plan.assumed = relied_on(self._plan, self._known)
        self._plan.seen = self._places.seen
