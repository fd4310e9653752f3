"""The archive format: what a ZIP of ours is made of, in which order, and what its manifest says.

An archive is an ordinary ZIP. Its members, in this order:

    manifest.json                   what is in it: every other member with its size and, where it
                                    was known when the archive was begun, its SHA-256
    adapters/{id}/record.json       one adapter: `ArchivedRecord` of `contents`
    tables/{table}.jsonl            the rows of one table (`tables`), one JSON object a line
    settings.json                   the settings in force without secrets; to read, never restored
    database/lora-manager.sqlite3   in backups of SQLite: a copy of the database as it stands
    adapters/{id}/files/{name}      model files, side files and previews, stored as they are
    pictures/{job_id}/{number}.png  the pictures of results
    hashes.json                     the SHA-256 of each member whose hash the manifest left open

Model files are hashed while they are copied, so that the first byte goes out at once; hence the
last member. An archive without it is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FORMAT = "lora-manager-archive"
#: Rises when an older program could not read the archive rightly.
FORMAT_VERSION = 1

MANIFEST = "manifest.json"
HASHES = "hashes.json"
SETTINGS = "settings.json"
DATABASE = "database/lora-manager.sqlite3"

ArchiveKind = Literal["export", "backup"]


def record_member(adapter_id: str) -> str:
    """Where an adapter's record lies."""
    return f"adapters/{adapter_id}/record.json"


def file_member(adapter_id: str, name: str) -> str:
    """Where a file of an adapter lies; `name` is a safe file name (`names.safe_file_name`)."""
    return f"adapters/{adapter_id}/files/{name}"


def table_member(table: str) -> str:
    """Where the rows of a table lie."""
    return f"tables/{table}.jsonl"


def picture_member(job_id: str, number: int) -> str:
    """Where a picture of a result lies."""
    return f"pictures/{job_id}/{number}.png"


@dataclass(frozen=True, slots=True)
class Member:
    """One member as the manifest lists it; `sha256` is lower-case hex, None: see `hashes.json`."""

    name: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was chosen and is not in the archive, and why."""

    name: str
    reason: str
    adapter_id: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The head of `manifest.json`; its `members` follow, one a line.

    `contents` are the choices the archive was made with (`schemas.Contents`), `counts` how many of
    each kind it holds: `adapters`, `model_files`, `pictures`, and a table's rows by its name.
    """

    id: str
    kind: ArchiveKind
    created_at: str
    created_by: str
    #: Newest revision of the schema that the rows fit.
    schema: str
    contents: Mapping[str, Any]
    counts: Mapping[str, int]
    left_out: tuple[LeftOut, ...] = ()
    #: Of a backup: `full` or `quick`, and why it was made (`by hand`, `schedule`, `before …`).
    backup_type: str | None = None
    reason: str | None = None
    format: str = field(default=FORMAT)
    format_version: int = field(default=FORMAT_VERSION)
