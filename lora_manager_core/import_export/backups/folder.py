"""The folder of backups, which is the truth of their history.

A backup is one archive, named so that it can be told from its name alone what it is. A small file
beside it keeps what the history shows; if that is lost, it is made anew from the archive.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, cast, get_args

import orjson

from lora_manager_core.common.clock import utc_text
from lora_manager_core.common.files import remove_leftovers, write_whole
from lora_manager_core.common.storage import storage_errors
from lora_manager_core.errors import ArchiveRefused, BackupNotFound, PasswordNeeded, StorageFailed
from lora_manager_core.import_export.archive.reader import open_archive
from lora_manager_core.import_export.schemas import BackupType

_UNFINISHED = ".unfinished"
_NAME = re.compile(r"(\d{8}T\d{6}Z)-(full|quick)-([0-9a-f-]{36})\.zip")
#: Of a backup whose password alone knows why it was made.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """One archive of the folder; `problem` says why it is none that can be restored.

    `mark` stands for the contents: two backups with the same one hold the same.
    """

    id: str
    created_at: str
    type: BackupType
    reason: str
    size: int
    file_name: str
    encrypted: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    mark: str | None = None
    problem: str | None = None


class BackupFolder:
    """The folder; made when the first backup is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._folder

    def list(self) -> list[StoredBackup]:
        """Every archive that lies there, newest first."""
        if not self._folder.is_dir():
            return []
        found = [self._look_at(path) for path in self._folder.glob("*.zip")]
        return sorted(
            (backup for backup in found if backup is not None),
            key=lambda backup: (backup.created_at, backup.id),
            reverse=True,
        )

    def get(self, backup_id: str) -> StoredBackup:
        """The backup of that id; raises `BackupNotFound`."""
        for backup in self.list():
            if backup.id == backup_id:
                return backup
        raise BackupNotFound(f"There is no backup {backup_id}; `/backups/history` lists them.")

    def file(self, backup: StoredBackup) -> Path:
        """Its archive."""
        return self._folder / backup.file_name

    @contextmanager
    def writing(self, backup_id: str) -> Iterator[IO[bytes]]:
        """A file for an archive in the making; it is removed unless `publish` is called after."""
        part = self._part(backup_id)
        with storage_errors(part):
            part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with storage_errors(part), part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise

    def publish(self, backup: StoredBackup) -> None:
        """Give a finished archive its name, and keep what the history shows of it."""
        path = self.file(backup)
        with storage_errors(path):
            self._part(backup.id).rename(path)
            self._note(backup)

    def remove(self, backup: StoredBackup) -> None:
        """Remove a backup for good.

        Raises:
            StorageFailed: its file is in use, or may not be removed.
        """
        path = self.file(backup)
        try:
            path.unlink(missing_ok=True)
            self._beside(path).unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(
                f"The backup could not be removed ({error.strerror}); end its download, or close "
                "the program that uses it, and try again."
            ) from error

    def remove_leftovers(self) -> None:
        """Remove what a dead process left unfinished."""
        remove_leftovers(self._folder / _UNFINISHED)

    def _part(self, backup_id: str) -> Path:
        return self._folder / _UNFINISHED / f"{backup_id}.part"

    def _beside(self, path: Path) -> Path:
        return path.with_suffix(".json")

    def _note(self, backup: StoredBackup) -> None:
        content = orjson.dumps(asdict(backup), option=orjson.OPT_INDENT_2)
        write_whole(self._beside(self.file(backup)), content, self._folder / _UNFINISHED)

    def _look_at(self, path: Path) -> StoredBackup | None:
        """What is known of an archive; None if it went meanwhile."""
        try:
            size = path.stat().st_size
            noted = self._noted(path, size)
            if noted is not None:
                return noted
            backup = _examined(path, size)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _broken(path, 0, f"The file cannot be read: {error.strerror or error}.")
        if backup.problem is None:
            with suppress(OSError):  # a folder that is only read is no reason to hide it
                self._note(backup)
        return backup

    def _noted(self, path: Path, size: int) -> StoredBackup | None:
        """What was kept of it, if that is of this very file."""
        with suppress(FileNotFoundError, ValueError, TypeError):
            noted = StoredBackup(**orjson.loads(self._beside(path).read_bytes()))
            if (noted.file_name, noted.size) == (path.name, size):
                return noted
        return None


def backup_name(created_at: str, backup_type: BackupType, backup_id: str) -> str:
    """The file name of a backup; such names sort by time."""
    moment = re.sub(r"[-:]|\.\d+", "", created_at)
    return f"{moment}-{backup_type}-{backup_id}.zip"


def _examined(path: Path, size: int) -> StoredBackup:
    """What the archive says of itself."""
    try:
        with open_archive(path, allow_pickles=True) as archive:
            manifest = archive.manifest
            is_backup = archive.maker == "lora-manager" and manifest.kind == "backup"
    except PasswordNeeded:
        return _from_name(path, size)
    except ArchiveRefused as refused:
        return _broken(path, size, refused.detail)
    if not is_backup or manifest.backup_type not in get_args(BackupType):
        return _broken(path, size, "This archive is no backup; import it instead.")
    return StoredBackup(
        id=manifest.id,
        created_at=manifest.created_at,
        type=cast(BackupType, manifest.backup_type),
        reason=manifest.reason or UNKNOWN,
        size=size,
        file_name=path.name,
        counts=dict(manifest.counts),
        left_out=len(manifest.left_out),
    )


def _from_name(path: Path, size: int) -> StoredBackup:
    """An encrypted one tells nothing but its name."""
    named = _named(path)
    return StoredBackup(reason=UNKNOWN, size=size, file_name=path.name, encrypted=True, **named)


def _broken(path: Path, size: int, problem: str) -> StoredBackup:
    return StoredBackup(
        reason=UNKNOWN, size=size, file_name=path.name, problem=problem, **_named(path)
    )


def _named(path: Path) -> dict[str, Any]:
    """Id, time and type by the name, else by what the file system knows."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, path.name)),
            "created_at": _changed_at(path),
            "type": "full",
        }
    moment, backup_type, backup_id = match.groups()
    created_at = (
        f"{moment[:4]}-{moment[4:6]}-{moment[6:8]}T{moment[9:11]}:{moment[11:13]}:{moment[13:15]}"
    )
    return {"id": backup_id, "created_at": f"{created_at}.000000Z", "type": backup_type}


def _changed_at(path: Path) -> str:
    return utc_text(datetime.fromtimestamp(path.stat().st_mtime, timezone.utc))
