"""The engine of imports and restores: plans an archive, stages its files, makes all true at once.

`plan` changes nothing. `stage` writes only beside the targets. `apply` runs inside the unit of work
that ends the job; whoever calls it takes the staged files back if that fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import IntegrityError

from lora_manager_core.common.paths import require_inside
from lora_manager_core.common.storage import storage_errors
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.errors import LibraryChanged
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.imports.disk_room import require_room
from lora_manager_core.import_export.imports.pictures import PictureLayout, PicturePlanner
from lora_manager_core.import_export.imports.placing import Places
from lora_manager_core.import_export.imports.plan import ImportPlan, Wishes, relied_on
from lora_manager_core.import_export.imports.planner import Planner
from lora_manager_core.import_export.imports.repository import ImportRecords, ImportWriter
from lora_manager_core.import_export.imports.restore_plan import allowed_by, plan_restore
from lora_manager_core.import_export.imports.row_columns import changed_row, new_row
from lora_manager_core.import_export.imports.set_writer import (
    add_members,
    members_of_collections,
)
from lora_manager_core.import_export.imports.staging import StagedFiles
from lora_manager_core.import_export.imports.table_merge import decide
from lora_manager_core.import_export.imports.table_writer import TableWriter
from lora_manager_core.library.walk import find_files

#: How often a long copy tells how far it is.
_REPORT_S = 0.2


@dataclass(frozen=True, slots=True)
class Applied:
    """What became true."""

    adapters: int
    files_written: int
    tables: dict[str, int]


class Importer:
    """Takes archives in. `data_dir` is where backups of what is replaced are kept."""

    def __init__(
        self,
        database: Database,
        library_roots: Callable[[], Sequence[Path]],
        import_path: Path,
        pictures: PictureLayout,
        data_dir: Path,
    ) -> None:
        self._database = database
        self._library_roots = library_roots
        self._import_path = import_path
        self._pictures = pictures
        self._data_dir = data_dir

    def roots(self) -> list[Path]:
        """The folders that files may be written to."""
        return [*self._library_roots(), self._import_path, self._pictures.folder]

    def target(self, asked: str | None) -> Path:
        """The folder for model files; raises `UnsafePath` if it lies in no library folder."""
        if asked is None:
            return self._import_path.absolute()
        allowed = [*self._library_roots(), self._import_path]
        return require_inside(asked, allowed, "The target").absolute()

    def plan(
        self, archive: Archive, wishes: Wishes, check: Callable[[], None] = lambda: None
    ) -> ImportPlan:
        """Everything that will be done; `check` is called now and then and may raise to stop.

        Raises:
            ArchiveRefused: the archive is damaged, or contradicts itself.
            DiskFull: there is not enough room.
            StorageFailed: a file here cannot be read.
        """
        libraries = [*self._library_roots(), self._import_path]
        with self._database.read() as session:
            records = ImportRecords(session)
            revision, known = records.revision(), records.known()
            places = Places(archive, libraries, known, check)
            if wishes.restore:
                allowed = allowed_by(libraries)
                plan = plan_restore(archive, wishes, revision, places, allowed)
            else:
                planner = Planner(archive, wishes, revision, known, places, records.columns)
                plan = planner.make()
            plan.tables = decide(session, archive, wishes, plan.adapter_ids)
            pictures = PicturePlanner(
                session, archive, plan.tables, places, self._pictures, wishes.restore
            )
            plan.pictures, writes = pictures.make()
        plan.writes += writes
        require_room(plan.writes, self._data_dir)
        return plan

    def stage(
        self,
        archive: Archive,
        plan: ImportPlan,
        staged: StagedFiles,
        on_bytes: Callable[[int], None],
    ) -> None:
        """Copy every file that the plan writes beside its target, checked, ready to be moved.

        `on_bytes` is told of every piece and may raise to stop.

        Raises:
            ArchiveRefused: a file is not what the archive promised.
            DiskFull, StorageFailed: it cannot be written.
            LibraryChanged: something appeared where a file belongs.
        """
        for write in plan.writes:
            part = staged.new(write.destination)
            with storage_errors(write.destination):
                archive.copy(write.file.member, part, on_bytes)
            staged.add(part, write.destination, write.file.mtime_ns, write.replace)
        staged.prepare()

    def apply(
        self, session: WriteSession, archive: Archive, plan: ImportPlan, staged: StagedFiles
    ) -> Applied:
        """Move the files and write all rows; the caller commits.

        Raises:
            LibraryChanged: something that the plan relies on is no longer so.
            StorageFailed, DiskFull: a file could not be moved.
        """
        self._require_unchanged(session, archive, plan)
        staged.publish()
        plan.is_published = True
        try:
            self._write(session, archive, plan)
        except IntegrityError as error:
            raise LibraryChanged(
                "Something of the same name or id was added meanwhile; begin again."
            ) from error
        session.after_commit(staged.finish)
        return Applied(len(plan.adapters), len(plan.writes), dict(plan.tables.rows))

    def _require_unchanged(self, session: WriteSession, archive: Archive, plan: ImportPlan) -> None:
        records = ImportRecords(session)
        changed = not plan.wishes.restore and records.revision() != plan.revision
        if changed and relied_on(plan, records.known()) != plan.assumed:
            raise LibraryChanged("Adapters were changed while the import was planned.")
        if decide(session, archive, plan.wishes, plan.adapter_ids) != plan.tables:
            raise LibraryChanged("Results or choices were changed while the import was planned.")
        if not plan.is_published:
            for path, state in plan.seen.items():
                if _state(path) != state:
                    raise LibraryChanged(f"{path} was changed while the import was planned.")

    def _write(self, session: WriteSession, archive: Archive, plan: ImportPlan) -> None:
        writer = ImportWriter(session)
        tables = TableWriter(session, archive, plan.tables, plan.adapter_ids, plan.pictures)
        members: list[dict[str, Any]] = []
        if plan.wishes.restore:
            tables.clear()
            members = members_of_collections(session)
            if archive.manifest.contents.get("loras"):
                writer.clear()
        roots = [*self._library_roots(), self._import_path]
        found = find_files((a.path for a in plan.adapters if a.refresh), roots)
        for adapter in plan.adapters:
            if adapter.refresh and str(adapter.path.absolute()) not in found:
                raise LibraryChanged(f"{adapter.path} was removed while the import was planned.")
        changed = [a for a in plan.adapters if a.known is not None and a.status == "updated"]
        ours = ImportRecords(session).columns([a.known.pk for a in changed if a.known])
        writer.free_names([a.known.pk for a in changed if a.known and "name" in a.change])
        writer.change_ids({a.known.id: a.id for a in changed if a.known and a.known.id != a.id})
        writer.update_rows(
            [
                changed_row(a, ours[a.known.pk], found.get(str(a.path.absolute())), roots)
                for a in changed
                if a.known
            ]
        )
        writer.insert_rows(
            [
                new_row(a, found.get(str(a.path.absolute())), roots)
                for a in plan.adapters
                if a.status == "created"
            ]
        )
        tables.write()
        add_members(session, members)
        # Whatever either side took out: a file that has a record now is to be scanned.
        writer.include_all([file.key for file in found.values()])


class ByteProgress:
    """Tells a job how far it is, by bytes, between two fractions; raises once it is to stop."""

    def __init__(
        self,
        report: Callable[[float, str], None],
        check: Callable[[], None],
        total_bytes: int,
        start: float = 0.0,
    ) -> None:
        self._report = report
        self._check = check
        self._total = max(1, total_bytes)
        self._start = start
        self._done = 0
        self._told_at = 0.0
        self.message = ""

    def __call__(self, count: int) -> None:
        """Take note of so many bytes more."""
        self._check()
        self._done += count
        if time.monotonic() - self._told_at >= _REPORT_S:
            self._told_at = time.monotonic()
            share = min(1.0, self._done / self._total)
            self._report(self._start + (1.0 - self._start) * share, self.message)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
