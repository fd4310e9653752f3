"""Archives of LoraAPIBackend: a manifest of adapters, `metadata.json` for each, and their files.

What they lack is found out by a scan; what is there is checked as strictly as our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from lora_manager_core.common.words import distinct_words
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import (
    ArchivedFile,
    ArchivedRecord,
    Ignored,
    Maker,
)
from lora_manager_core.import_export.archive.file_kinds import kind_of, refuse_pickles, why_ignored
from lora_manager_core.import_export.archive.folder_format import foreign_manifest
from lora_manager_core.import_export.archive.names import check_member_name
from lora_manager_core.import_export.archive.record_check import check_columns, is_id
from lora_manager_core.import_export.archive.zip_archive import ZipArchive
from lora_manager_core.import_export.archive.zip_members import ZipMembers
from lora_manager_core.import_export.archive.zip_records import damaged
from lora_manager_core.library.files.names import safe_file_name, shown

_MAX_METADATA_BYTES = 8 * 2**20
_MAX_FILES = 100
_MANIFEST = "manifest.json"
#: Of a model file that nothing is known of.
_ENDING = ".safetensors"

#: Fields of its metadata that mean the same here. Paths, sizes and hashes tell of files of another
#: machine, and are found out anew.
_FIELDS = (
    "name",
    "version",
    "canonical_version_name",
    "description",
    "author_username",
    "visibility",
    "published_at",
    "tags",
    "trained_words",
    "triggers",
    "weight",
    "active",
    "ordinal",
    "archetype",
    "archetype_confidence",
    "primary_file_download_url",
    "supports_generation",
    "sd_version",
    "nsfw_level",
    "activation_text",
    "stats",
    "extra",
)
_LISTS = ("tags", "trained_words", "triggers")
_VISIBILITIES = {word.lower(): word for word in ("Public", "Private", "Unlisted")}


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the manifest says of one adapter; `what` it is, for people."""

    what: str
    id: str | None
    name: Any
    version: Any
    metadata: str | None
    files: tuple[ArchivedFile, ...]


class LoraApiArchive(ZipArchive):
    """An archive that LoraAPIBackend made."""

    maker: Maker = "lora-api"

    def __init__(
        self, opened: ZipMembers, document: Mapping[str, Any], allow_pickles: bool
    ) -> None:
        super().__init__(opened)
        self._used = {_MANIFEST}
        self._entries = [self._entry(entry) for entry in document["adapters"]]
        ids = [entry.id for entry in self._entries if entry.id is not None]
        if len(set(ids)) != len(ids):
            raise damaged("its manifest has two adapters of one id")
        files = [file for entry in self._entries for file in entry.files]
        refuse_pickles((file.member for file in files), allow_pickles)
        self.ignored = tuple(
            Ignored(
                name,
                why_ignored(name) if kind_of(name) is None else "The manifest does not name it.",
            )
            for name in opened.members
            if name not in self._used
        )
        if not self._entries:
            raise ArchiveRefused("The archive holds no adapters.")
        self.expanded_bytes = sum(file.size for file in files)
        self.manifest = foreign_manifest("LoraAPIBackend", len(self._entries))

    def adapters(self) -> Iterator[ArchivedRecord]:
        """Every adapter, checked; see `Archive.adapters`."""
        for entry in self._entries:
            metadata = self._metadata(entry)
            columns = check_columns(_columns(entry, metadata), entry.what)
            if "name" not in columns:
                raise damaged(f"{entry.what} has no name")
            model = next((file for file in entry.files if file.kind == "model"), None)
            file_name = model.name if model else _file_name(metadata, columns["name"])
            yield ArchivedRecord(columns, "", file_name, entry.files)

    def tables(self) -> tuple[str, ...]:
        """None."""
        return ()

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """None."""
        yield from ()

    def pictures(self) -> Mapping[tuple[str, int], ArchivedFile]:
        """None."""
        return {}

    def _entry(self, given: Any) -> _Entry:
        if not isinstance(given, dict):
            raise damaged("its manifest has an adapter that cannot be read")
        what = f"the adapter “{shown(str(given.get('name') or given.get('id')))}”"
        member = given.get("metadata_path")
        if member is not None:
            if not isinstance(member, str) or member not in self._zip.members:
                raise damaged(f"the metadata of {what} is not in the archive")
            self._used.add(member)
        return _Entry(
            what,
            given["id"] if is_id(given.get("id")) else None,
            given.get("name"),
            given.get("version"),
            member,
            self._files(given.get("files") or [], what),
        )

    def _metadata(self, entry: _Entry) -> Mapping[str, Any]:
        if entry.metadata is None:
            return {}
        metadata = self._zip.read_json(entry.metadata, _MAX_METADATA_BYTES)
        if not isinstance(metadata, dict):
            raise damaged(f"the metadata of {entry.what} is not a JSON object")
        return metadata

    def _files(self, given: Any, what: str) -> tuple[ArchivedFile, ...]:
        """The model first; of several the one that the manifest names first."""
        if not isinstance(given, list) or len(given) > _MAX_FILES:
            raise damaged(f"the files of {what} cannot be read")
        files: list[ArchivedFile] = []
        for entry in given:
            if not isinstance(entry, dict):
                raise damaged(f"a file of {what} cannot be read")
            member = entry.get("archive_path")
            if member is None:  # it was not there when the archive was made
                continue
            if not isinstance(member, str) or member not in self._zip.members:
                raise damaged(f"a file of {what} is not in the archive")
            name = _original_name(entry, member, what)
            size = self._zip.members[member].size
            if type(entry.get("size")) is int and entry["size"] != size:
                raise damaged(f"a file of {what} has another size than its manifest says")
            kind = kind_of(name)
            taken = any(file.kind == kind == "model" or file.name == name for file in files)
            if kind is not None and not taken:
                self._used.add(member)
                files.append(ArchivedFile(member, kind, name, size))
        return tuple(sorted(files, key=lambda file: file.kind != "model"))


def _columns(entry: _Entry, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that it tells of, as they are called and written here."""
    told = {"name": entry.name, "version": entry.version, **metadata}
    columns = {name: told[name] for name in _FIELDS if told.get(name) is not None}
    for name in _LISTS:
        value = columns.get(name)
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            columns[name] = distinct_words(filter(None, (word.strip() for word in value)))
    visibility = columns.get("visibility")
    if isinstance(visibility, str):
        columns["visibility"] = _VISIBILITIES.get(visibility.lower(), visibility)
    if entry.id is not None:
        columns["id"] = entry.id
    return columns


def _original_name(entry: Mapping[str, Any], member: str, what: str) -> str:
    stored = PurePosixPath(member).name
    name = entry.get("original_name")
    if name is None:
        number, _, rest = stored.partition("_")
        return rest if number.isdigit() and rest else stored
    if not isinstance(name, str) or "/" in check_member_name(name):
        raise damaged(f"a file of {what} has a name that is none")
    if PurePosixPath(name).suffix.lower() != PurePosixPath(member).suffix.lower():
        raise damaged(f"a file of {what} has another ending than in the archive")
    return name


def _file_name(metadata: Mapping[str, Any], name: str) -> str:
    """What the model file was called where it lay; of its path only the end is looked at."""
    path = metadata.get("file_path")
    if isinstance(path, str):
        kind: type[PurePath] = PureWindowsPath if "\\" in path else PurePosixPath
        told = safe_file_name(kind(path).name)
        if kind_of(told) == "model":
            return told
    return safe_file_name(f"{name}{_ENDING}")
