"""The folder of finished exports that wait to be downloaded; their names tell all of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lora_manager_core.common.files import remove_files
from lora_manager_core.common.storage import storage_errors
from lora_manager_core.errors import ExportNotFound, StorageFailed

_UNFINISHED = ".unfinished"
#: Time, whether it is encrypted, and the id of its job.
_NAME = re.compile(r"lora_export_(\d{8})_(\d{6})(_encrypted)?_([0-9a-f-]{36})\.zip")


@dataclass(frozen=True, slots=True)
class StoredExport:
    """One finished export."""

    id: str
    created_at: str
    encrypted: bool
    path: Path
    size: int

    @property
    def file_name(self) -> str:
        """What it is called where it is downloaded to."""
        return export_name(self.created_at)


class ExportFolder:
    """The folder; made when the first export is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._folder

    def list(self) -> list[StoredExport]:
        """What lies there, newest first."""
        if not self._folder.is_dir():
            return []
        found = [_stored(path) for path in self._folder.iterdir()]
        kept = [export for export in found if export is not None]
        return sorted(kept, key=lambda export: (export.created_at, export.id), reverse=True)

    def get(self, export_id: str) -> StoredExport:
        """The export of that id; raises `ExportNotFound`."""
        for export in self.list():
            if export.id == export_id:
                return export
        raise ExportNotFound(f"There is no export {export_id}; it was deleted, or is not finished.")

    @contextmanager
    def writing(self, export_id: str) -> Iterator[Path]:
        """A path for an export in the making; whatever is there after the block is removed."""
        part = self._folder / _UNFINISHED / f"{export_id}.part"
        with storage_errors(part):
            part.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
        finally:
            with suppress(OSError):  # the next start tries again
                part.unlink(missing_ok=True)

    def publish(self, part: Path, export_id: str, created_at: str, encrypted: bool) -> StoredExport:
        """Give a finished export its name."""
        moment = export_name(created_at).removesuffix(".zip")
        path = self._folder / f"{moment}{'_encrypted' if encrypted else ''}_{export_id}.zip"
        with storage_errors(path):
            part.replace(path)
            return StoredExport(export_id, created_at, encrypted, path, path.stat().st_size)

    def remove(self, export_id: str) -> None:
        """Delete an export.

        Raises:
            ExportNotFound: no such export.
            StorageFailed: its file is in use.
        """
        try:
            self.get(export_id).path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(
                f"The export could not be deleted ({error.strerror}); end its download first."
            ) from error

    def remove_leftovers(self, unfinished: Collection[str]) -> None:
        """Remove what jobs left that are no more; `unfinished` are the ids of the others."""
        folder = self._folder / _UNFINISHED
        if folder.is_dir():
            remove_files(part for part in folder.iterdir() if part.stem not in unfinished)


def export_name(created_at: str) -> str:
    """`lora_export_20260101_120000.zip`, from a time as the API writes it."""
    digits = re.sub(r"\D", "", created_at)
    return f"lora_export_{digits[:8]}_{digits[8:14]}.zip"


def _stored(path: Path) -> StoredExport | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    day, time, encrypted, export_id = match.groups()
    created_at = f"{day[:4]}-{day[4:6]}-{day[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}.000000Z"
    try:
        size = path.stat().st_size
    except FileNotFoundError:  # deleted meanwhile
        return None
    return StoredExport(export_id, created_at, encrypted is not None, path, size)
