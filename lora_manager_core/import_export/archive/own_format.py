"""Archives of our own (`format`): every member is known, promised by the manifest, and hashed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lora_manager_core.db.migrate import newest_revision
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import (
    ArchivedFile,
    ArchivedRecord,
    Ignored,
    Maker,
)
from lora_manager_core.import_export.archive.file_kinds import (
    kind_of,
    owner_of,
    refuse_pickles,
    stem_of,
    why_ignored,
)
from lora_manager_core.import_export.archive.names import check_member_name
from lora_manager_core.import_export.archive.own_manifest import read_listed
from lora_manager_core.import_export.archive.record_check import check_record, check_row
from lora_manager_core.import_export.archive.tables import TABLES
from lora_manager_core.import_export.archive.zip_archive import ZipArchive
from lora_manager_core.import_export.archive.zip_members import ZipMembers, lines_of, parse_json
from lora_manager_core.import_export.archive.zip_records import damaged
from lora_manager_core.library.files.names import safe_file_name, safe_folder, shown

#: Of a record, and of one row of a table.
MAX_RECORD_BYTES = 8 * 2**20
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_MAX_PATH = 10_000
_MAX_FILES = 1000


class OwnArchive(ZipArchive):
    """An archive that this program made."""

    maker: Maker = "lora-manager"

    def __init__(
        self, opened: ZipMembers, document: Mapping[str, Any], allow_pickles: bool
    ) -> None:
        super().__init__(opened)
        self._takes_damaged = allow_pickles
        self._listed = read_listed(opened, document)
        self.manifest = self._listed.manifest
        self._is_older = self.manifest.schema < newest_revision()
        refuse_pickles(self._listed.files, allow_pickles)
        kept = {name for name in self._listed.files if kind_of(name) is not None}
        self._files = frozenset(kept)
        self.ignored = tuple(
            Ignored(name, why_ignored(name)) for name in sorted(self._listed.files - kept)
        )
        self.expanded_bytes = sum(
            opened.members[name].size for name in (*kept, *self._listed.pictures.values())
        )

    def adapters(self) -> Iterator[ArchivedRecord]:
        """Every adapter, checked; see `Archive.adapters`."""
        for adapter_id, member in self._listed.records.items():
            yield self._record(adapter_id, self._checked_json(member))

    def tables(self) -> tuple[str, ...]:
        """Names of the tables in the order in which they can be inserted."""
        return tuple(table.name for table in TABLES if table.name in self._listed.tables)

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """The rows of a table, checked; see `Archive.rows`."""
        archived = next(known for known in TABLES if known.name == table)
        # Where a picture lay is told by backups only.
        may_lack = "file_path" if table == "result_images" else ""
        pieces = self._hashed(self._listed.tables[table])
        for number, line in enumerate(lines_of(pieces, MAX_RECORD_BYTES, f"“{table}”"), 1):
            what = f"row {number} of “{table}”"
            yield check_row(
                archived,
                parse_json(line, what),
                what,
                may_lack=may_lack,
                is_older=self._is_older,
            )

    def pictures(self) -> Mapping[tuple[str, int], ArchivedFile]:
        """The pictures of results; see `Archive.pictures`."""
        return {
            (job_id, number): self._file(member, "preview", f"{number}.png", None)
            for (job_id, number), member in self._listed.pictures.items()
        }

    def _promised_sha256(self, member: str) -> str | None:
        return self._listed.sha256.get(member)

    def _checked_json(self, member: str) -> Any:
        """A small member, held against its hash."""
        self._zip.require_small(member, MAX_RECORD_BYTES)
        return parse_json(b"".join(self._hashed(member)), shown(member))

    def _record(self, adapter_id: str, given: Any) -> ArchivedRecord:
        what = f"the record of the adapter {adapter_id}"
        if not isinstance(given, dict):
            raise damaged(f"{what} is not a JSON object")
        columns = check_record(given.get("adapter"), what, is_older=self._is_older)
        if columns["id"] != adapter_id:
            raise damaged(f"{what} is that of another one")
        location, files = given.get("location"), given.get("files")
        if not isinstance(location, dict) or not isinstance(files, list):
            raise damaged(f"{what} does not say where its files belong")
        if len(files) > _MAX_FILES:
            raise damaged(f"{what} has over {_MAX_FILES} files")
        folder = _path_text(location, "folder", what)
        file_name = _path_text(location, "file_name", what)
        _refuse_traversal(folder, what)
        _refuse_traversal(file_name, what)
        name = safe_file_name(file_name)
        if "/" in file_name or kind_of(name) != "model":
            raise damaged(f"{what} has a file name that is none of a model")
        path = location.get("file_path")
        return ArchivedRecord(
            columns,
            safe_folder(folder),
            name,
            self._files_of(files, name, what),
            None if path is None else _path_text(location, "file_path", what),
        )

    def _files_of(self, given: list[Any], model_name: str, what: str) -> tuple[ArchivedFile, ...]:
        """The model first; files that are named after other models are left in the archive."""
        files: list[ArchivedFile] = []
        models = {stem_of(model_name): model_name}
        names: set[str] = set()
        for entry in given:
            if not isinstance(entry, dict):
                raise damaged(f"{what} has a file that cannot be read")
            member, kind, name = entry.get("member"), entry.get("kind"), entry.get("name")
            mtime_ns = entry.get("mtime_ns")
            if not isinstance(member, str) or member not in self._listed.files:
                raise damaged(f"{what} names a file that is not in the archive")
            if not isinstance(name, str) or "/" in check_member_name(name):
                raise damaged(f"{what} has a file whose name is none")
            if mtime_ns is not None and (type(mtime_ns) is not int or abs(mtime_ns) >= 2**63):
                raise damaged(f"{what} has a file with an impossible time")
            if _ending(member) != _ending(name) or (
                kind == "model" and _ending(name) != _ending(model_name)
            ):
                raise damaged(f"{what} gives a file another ending than it has in the archive")
            if kind != kind_of(name) and kind != "side":
                raise damaged(f"{what} has a file that cannot be what it is said to be")
            if name.lower() in names:
                raise damaged(f"{what} names a file twice")
            names.add(name.lower())
            possible = kind_of(name)
            if member in self._files and (
                kind == "model" or (possible != "model" and owner_of(name, models))
            ):
                files.append(self._file(member, kind, name, mtime_ns))
        if sum(file.kind == "model" for file in files) > 1:
            raise damaged(f"{what} has several model files")
        return tuple(sorted(files, key=lambda file: file.kind != "model"))

    def _file(self, member: str, kind: Any, name: str, mtime_ns: int | None) -> ArchivedFile:
        return ArchivedFile(
            member,
            kind,
            name,
            self._zip.members[member].size,
            self._listed.sha256[member],
            mtime_ns,
        )


def _ending(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()


def _path_text(location: Mapping[str, Any], name: str, what: str) -> str:
    value = location.get(name)
    if not isinstance(value, str) or "\0" in value or len(value) > _MAX_PATH:
        raise damaged(f"{what} has a {name} that is none")
    return value


def _refuse_traversal(path: str, what: str) -> None:
    """Names that are only odd are made safe; those that lead elsewhere were made to."""
    parts = path.replace("\\", "/").split("/")
    if path.startswith(("/", "\\")) or _DRIVE.match(path) or ".." in parts or "." in parts:
        raise ArchiveRefused(f"The archive is refused: {what} leads to another folder.")
