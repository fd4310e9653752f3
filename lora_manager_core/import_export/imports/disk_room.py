"""Whether the files of a plan fit on their disks, asked before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lora_manager_core.errors import DiskFull
from lora_manager_core.import_export.imports.plan import PlannedFile


def require_room(writes: Sequence[PlannedFile], data_dir: Path) -> None:
    """Raise `DiskFull` where a disk has less room than its files need.

    What is replaced is kept in a backup in the data folder, and until the end beside its place.
    """
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    volumes: dict[Path, tuple[int, Path]] = {}

    def _need(folder: Path, size: int) -> None:
        if folder not in volumes:
            existing = _existing(folder)
            volumes[folder] = (existing.stat().st_dev, existing)
        device, existing = volumes[folder]
        folders.setdefault(device, existing)
        needed[device] = needed.get(device, 0) + size

    for write in writes:
        _need(write.destination.parent, write.file.size)
        if write.replace and write.destination.exists():
            _need(data_dir, write.destination.stat().st_size)
    for device, size in needed.items():
        free = shutil.disk_usage(folders[device]).free
        if free < size:
            raise DiskFull(
                f"The archive needs {size:,} bytes on the disk of {folders[device]}, and "
                f"{free:,} are free. Free some space, or choose another target.",
                needed_bytes=size,
                free_bytes=free,
            )


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
