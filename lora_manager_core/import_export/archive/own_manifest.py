"""Reads the manifest of an archive of ours, and holds it against what the archive really has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_manager_core.db.migrate import newest_revision
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.format import (
    DATABASE,
    FORMAT,
    FORMAT_VERSION,
    HASHES,
    MANIFEST,
    SETTINGS,
    LeftOut,
    Manifest,
    table_member,
)
from lora_manager_core.import_export.archive.record_check import is_id
from lora_manager_core.import_export.archive.tables import TABLES
from lora_manager_core.import_export.archive.zip_members import ZipMembers
from lora_manager_core.import_export.archive.zip_records import damaged
from lora_manager_core.library.files.names import shown

#: Nothing that an honest program writes is larger; what JSON becomes in memory is several times it.
MAX_MANIFEST_BYTES = 256 * 2**20
_MANIFEST_BYTES_PER_MEMBER = 8000
_FREE_MANIFEST_BYTES = 4 * 2**20

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RECORD = re.compile(r"adapters/([^/]+)/record\.json")
_FILE = re.compile(r"adapters/([^/]+)/files/[^/]+")
_PICTURE = re.compile(r"pictures/([^/]+)/(0|[1-9][0-9]{0,5})\.png")
_TABLES: Mapping[str, str] = {table_member(table.name): table.name for table in TABLES}


@dataclass(frozen=True, slots=True)
class Listed:
    """What the manifest promised and the archive has, each by what it is called in the archive.

    `records` and `pictures` give the members by adapter id, and by job id and number.
    """

    manifest: Manifest
    sha256: Mapping[str, str]
    records: Mapping[str, str]
    tables: Mapping[str, str]
    files: frozenset[str]
    pictures: Mapping[tuple[str, int], str]


def manifest_limit(opened: ZipMembers) -> int:
    """How large a manifest of that many members may be, in bytes."""
    wanted = _FREE_MANIFEST_BYTES + _MANIFEST_BYTES_PER_MEMBER * len(opened.members)
    return min(MAX_MANIFEST_BYTES, wanted)


def read_listed(opened: ZipMembers, document: Mapping[str, Any]) -> Listed:
    """The contents of an archive whose `manifest.json` is `document`.

    Raises:
        ArchiveRefused: it was made by a newer version, is cut off, or not what its manifest says.
    """
    version = document.get("format_version")
    if type(version) is not int or version < 1:
        raise _lie("its format version is no number")
    schema = document.get("schema")
    if version > FORMAT_VERSION or (isinstance(schema, str) and schema > newest_revision()):
        raise ArchiveRefused(
            "The archive was made by a newer version of this program "
            f"({shown(str(document.get('created_by')))}); update the program."
        )
    if HASHES not in opened.members:
        raise ArchiveRefused(
            "The archive is cut off: its last member is missing. Make or copy it again."
        )
    promised = _promised(opened, document)
    records: dict[str, str] = {}
    pictures: dict[tuple[str, int], str] = {}
    files: set[str] = set()
    tables: dict[str, str] = {}
    for name in promised:
        if (match := _RECORD.fullmatch(name)) and is_id(match[1]):
            records[match[1]] = name
        elif (match := _FILE.fullmatch(name)) and is_id(match[1]):
            files.add(name)
        elif (match := _PICTURE.fullmatch(name)) and is_id(match[1]):
            pictures[match[1], int(match[2])] = name
        elif name in _TABLES:
            tables[_TABLES[name]] = name
        elif name not in (SETTINGS, DATABASE):
            raise _lie(f"“{shown(name)}” is nothing that such an archive holds")
    manifest = _head(document)
    if manifest.counts.get("adapters", len(records)) != len(records):
        raise _lie("it has more or fewer adapters than it says")
    return Listed(manifest, promised, records, tables, frozenset(files), pictures)


def _promised(opened: ZipMembers, document: Mapping[str, Any]) -> dict[str, str]:
    """Hash by member; the manifest, the archive and the list of hashes agree."""
    later = opened.read_json(HASHES, manifest_limit(opened))
    hashes = later.get("members") if isinstance(later, dict) else None
    members = document.get("members")
    if not isinstance(hashes, dict) or not isinstance(members, list):
        raise _lie("it lists no members, or no hashes")
    promised: dict[str, str] = {}
    for member in members:
        if not isinstance(member, dict):
            raise _lie("its list of members cannot be read")
        name, size, sha256 = member.get("name"), member.get("size"), member.get("sha256")
        if not isinstance(name, str) or name in (MANIFEST, HASHES) or name in promised:
            raise _lie("its list of members names one twice, or one that cannot be")
        found = opened.members.get(name)
        if found is None:
            raise _lie(f"“{shown(name)}” is missing from the archive")
        if type(size) is not int or size != found.size:
            raise _lie(f"“{shown(name)}” has another size than it says")
        if sha256 is None:
            sha256 = hashes.pop(name, None)
        if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
            raise _lie(f"the hash of “{shown(name)}” is missing")
        promised[name] = sha256
    if hashes:
        raise _lie(f"it has a hash too many, of “{shown(min(hashes))}”")
    extra = opened.members.keys() - promised.keys() - {MANIFEST, HASHES}
    if extra:
        raise _lie(f"“{shown(min(extra))}” is in the archive and not in its manifest")
    return promised


def _head(document: Mapping[str, Any]) -> Manifest:
    counts, contents = document.get("counts"), document.get("contents")
    if not isinstance(counts, dict) or not isinstance(contents, dict):
        raise _lie("it does not say what it holds")
    if any(type(count) is not int or count < 0 for count in counts.values()):
        raise _lie("its counts are no numbers")
    left_out = document.get("left_out") or []
    if not isinstance(left_out, list):
        raise _lie("what was left out is no list")
    kind = document.get("kind")
    if kind != "export" and kind != "backup":
        raise _lie("it is neither an export nor a backup")
    return Manifest(
        id=_text(document, "id"),
        kind=kind,
        created_at=_text(document, "created_at"),
        created_by=_text(document, "created_by"),
        schema=_text(document, "schema"),
        contents=contents,
        counts=counts,
        left_out=tuple(map(_left_out, left_out)),
        backup_type=_optional_text(document, "backup_type"),
        reason=_optional_text(document, "reason"),
        format=FORMAT,
        format_version=FORMAT_VERSION,
    )


def _left_out(given: Any) -> LeftOut:
    if not isinstance(given, dict):
        raise _lie("what was left out cannot be read")
    return LeftOut(
        _text(given, "name"), _text(given, "reason"), _optional_text(given, "adapter_id")
    )


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or len(value) > 10_000:
        raise _lie(f"its “{name}” is missing, or no text")
    return value


def _optional_text(given: Mapping[str, Any], name: str) -> str | None:
    return None if given.get(name) is None else _text(given, name)


def _lie(why: str) -> ArchiveRefused:
    return damaged(f"its manifest is not true: {why}")
