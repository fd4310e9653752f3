"""Takes the snapshot that an archive is made of: one state of the rows, then the files as they lie.

Rows are read in one unit of work and written to the disk, so that it is short and memory flat; the
files are looked at afterwards.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from lora_manager_core import __version__
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import ResultImage
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.import_export.archive.contents import FileKind
from lora_manager_core.import_export.archive.format import (
    DATABASE,
    SETTINGS,
    LeftOut,
    Manifest,
    file_member,
    picture_member,
    record_member,
    table_member,
)
from lora_manager_core.import_export.archive.tables import TABLES, ArchivedTable
from lora_manager_core.import_export.exports.choice import Choice, date_range
from lora_manager_core.import_export.exports.repository import ExportRepository, PlacedRecord
from lora_manager_core.import_export.exports.snapshot_index import SnapshotIndex
from lora_manager_core.import_export.exports.source_files import (
    FileRefused,
    SourceFile,
    SourceFolders,
    kind_of_side_file,
    side_names,
)
from lora_manager_core.import_export.room import require_room
from lora_manager_core.import_export.schemas import Contents
from lora_manager_core.library.files.names import safe_file_name

_RECORDS, _TABLES, _SETTINGS = range(3)
#: Pages of a SQLite copy between two looks whether to stop.
_COPIED_PAGES = 2000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of everything chosen; `manifest` has an empty `left_out`, that is in `index`."""

    manifest: Manifest
    index: SnapshotIndex


class Snapshots:
    """Takes snapshots of one installation.

    `library_roots` and `pictures` are the folders that files may come from, `settings` gives those
    in force without secrets, `scratch` is a folder for what is in the making.
    """

    def __init__(
        self,
        database: Database,
        library_roots: Callable[[], Sequence[Path]],
        pictures: Path,
        settings: Callable[[], Mapping[str, Any]],
        scratch: Path,
    ) -> None:
        self._database = database
        self._library_roots = library_roots
        self._pictures = pictures
        self._settings = settings
        self.scratch = scratch

    @contextmanager
    def take(self, choice: Choice, check: Callable[[], None]) -> Iterator[Snapshot]:
        """A snapshot for as long as the block takes; `check` is called often and may raise."""
        index = SnapshotIndex(self.scratch)
        try:
            with self._rows(choice, check) as (database, copy):
                taking = _Taking(choice, index, check)
                with tempfile.TemporaryFile(dir=self.scratch) as found:
                    with database.read() as session:
                        repository = ExportRepository(session)
                        repository.spare_memory()
                        schema = repository.schema()
                        taking.rows(repository, found)
                    if copy is not None:
                        database.close()  # nothing more is written beside the copy
                        index.add_file(DATABASE, _source(copy))
                    found.seek(0)
                    taking.adapters(found, SourceFolders(self._library_roots(), "a library folder"))
                    taking.pictures(
                        found, SourceFolders([self._pictures], "the folder of pictures")
                    )
                if choice.contents.system_config:
                    settings = orjson.dumps(self._settings(), option=orjson.OPT_INDENT_2)
                    index.add_text(_SETTINGS, SETTINGS, settings)
                yield Snapshot(taking.manifest(schema), index)
        finally:
            index.close()

    @contextmanager
    def _rows(
        self, choice: Choice, check: Callable[[], None]
    ) -> Iterator[tuple[Database, Path | None]]:
        """The database to read from: a copy of ours, if that is to go into the archive as well."""
        if not (choice.with_database and self._database.is_sqlite):
            yield self._database, None
            return
        # SQLite would only say that it is full, and not before it is.
        require_room(self.scratch, Path(self._database.engine.url.database or "").stat().st_size)
        with tempfile.TemporaryDirectory(dir=self.scratch, ignore_cleanup_errors=True) as folder:
            copy = Path(folder) / "lora-manager.sqlite3"
            _copy_sqlite(self._database, copy, check)
            database = Database(f"sqlite:///{copy.as_posix()}")
            try:
                yield database, copy
            finally:
                database.close()


class _Taking:
    """One snapshot in the making."""

    def __init__(self, choice: Choice, index: SnapshotIndex, check: Callable[[], None]) -> None:
        self._choice = choice
        self._contents = choice.contents
        self._index = index
        self._check = check
        self._counts: Counter[str] = Counter()

    def rows(self, repository: ExportRepository, found: IO[bytes]) -> None:
        """Tables go into the index; records and pictures, whose files are still to be found, into
        `found`, by lines: two for each record, an empty one, one for each picture.
        """
        dates = date_range(self._contents)
        if self._contents.loras:
            for record in repository.records(self._choice.adapter_ids, self._choice.query):
                self._check()
                found.write(record.columns + b"\n" + orjson.dumps(record[1:]) + b"\n")
        found.write(b"\n")
        for archived in TABLES:
            if not getattr(self._contents, archived.part):
                continue
            with self._index.text(_TABLES, table_member(archived.name)) as write:
                for row in repository.rows(archived, self._columns(archived), dates):
                    self._check()
                    write(row + b"\n")
                    self._counts[archived.name] += 1
        if self._contents.generations and self._contents.pictures:
            for picture in repository.pictures(dates):
                self._check()
                found.write(orjson.dumps(tuple(picture)) + b"\n")

    def adapters(self, found: IO[bytes], folders: SourceFolders) -> None:
        """Records, with the files that belong to them as they lie now."""
        while (columns := found.readline().rstrip(b"\n")) != b"":
            self._check()
            record = PlacedRecord(columns, *orjson.loads(found.readline()))
            location: dict[str, str] = {
                "folder": record.folder,
                "file_name": os.path.basename(record.file_path),  # noqa: PTH119 - a text of a row
            }
            if self._choice.with_paths:
                location["file_path"] = record.file_path
            text = {
                "adapter": orjson.Fragment(columns),
                "location": location,
                "files": list(self._files(record, folders)),
            }
            self._counts["adapters"] += 1
            self._index.add_text(_RECORDS, record_member(record.id), orjson.dumps(text))

    def pictures(self, found: IO[bytes], folders: SourceFolders) -> None:
        """The files of the pictures of results."""
        for line in found:
            self._check()
            job_id, number, path = orjson.loads(line)
            member = picture_member(job_id, number)
            try:
                self._index.add_file(member, folders.find(path), shared=False)
                self._counts["pictures"] += 1
            except FileRefused as refused:
                self._index.leave_out(LeftOut(member, str(refused)))

    def manifest(self, schema: str) -> Manifest:
        """What this came to."""
        choice = self._choice
        tables = {table.name for table in TABLES if getattr(self._contents, table.part)}
        return Manifest(
            id=choice.id,
            kind=choice.kind,
            created_at=utc_now(),
            created_by=f"sd-lora-manager {__version__}",
            schema=schema,
            # Of a request only what it says of the contents: never its password.
            contents=choice.contents.model_dump(include=set(Contents.model_fields)),
            counts={
                name: self._counts[name]
                for name in ("adapters", "model_files", "pictures", *sorted(tables))
            },
            backup_type=choice.backup_type,
            reason=choice.reason,
        )

    def _columns(self, archived: ArchivedTable) -> Sequence[str]:
        if archived.model is ResultImage and not self._choice.with_paths:
            return [name for name in archived.columns if name != "file_path"]
        return archived.columns

    def _wanted(self, record: PlacedRecord) -> Iterator[tuple[str, FileKind]]:
        """Paths of the files of an adapter that were chosen, the model first."""
        only = self._choice.only_files
        if self._contents.lora_files and (only is None or record.file_key in only):
            yield record.file_path, "model"
        folder = os.path.dirname(record.file_path)  # noqa: PTH120 - a text of a row
        beside = {os.path.join(folder, name) for name, _ in side_names(record.side_signature)}  # noqa: PTH118
        # Not the picture inside the model file, nor one that a provider can be asked for again.
        preview = record.preview_path or record.file_path
        if preview != record.file_path and os.path.dirname(preview) == folder:  # noqa: PTH120
            beside.add(preview)
        for path in sorted(beside):
            kind = "preview" if path == record.preview_path else kind_of_side_file(path)
            if self._contents.previews if kind == "preview" else self._contents.lora_metadata:
                yield path, kind

    def _files(self, record: PlacedRecord, folders: SourceFolders) -> Iterator[dict[str, Any]]:
        """What the record says of its files; they go into the index, or are noted as left out."""
        taken: set[str] = set()
        for path, kind in self._wanted(record):
            name = os.path.basename(path)  # noqa: PTH119 - a text of a row
            try:
                source = folders.find(path)
            except FileRefused as refused:
                self._index.leave_out(LeftOut(name, str(refused), record.id))
                continue
            name = _free_name(safe_file_name(name), taken)
            member = file_member(record.id, name)
            stored = self._index.add_file(member, source)
            self._counts["model_files"] += kind == "model" and stored == member
            yield {"member": stored, "kind": kind, "name": name, "mtime_ns": source.mtime_ns}


def _free_name(name: str, taken: set[str]) -> str:
    """The name, with a number where another file of the adapter has it but for its case."""
    stem, dot, ending = name.partition(".")
    free, number = name, 1
    while _folded(free) in taken:
        number += 1
        free = f"{stem} ({number}){dot}{ending}"
    taken.add(_folded(free))
    return free


def _folded(name: str) -> str:
    """As file systems compare names that know neither case nor ways to write an accent."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _source(path: Path) -> SourceFile:
    status = path.lstat()
    return SourceFile(str(path), status.st_size, status.st_mtime_ns, status.st_ino)


def _copy_sqlite(database: Database, target: Path, check: Callable[[], None]) -> None:
    """Copy a SQLite database that is in use, as it stands now."""
    pooled = database.engine.raw_connection()
    try:
        source = pooled.driver_connection
        assert isinstance(source, sqlite3.Connection)
        # One reading transaction over all steps: SQLite would begin anew after every write.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        copy = sqlite3.connect(target)
        try:
            source.backup(copy, pages=_COPIED_PAGES, progress=lambda *_: check())
        finally:
            copy.close()
            source.execute("ROLLBACK")
    finally:
        pooled.close()
