"""Whether an archive fits on the disk, asked before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from lora_manager_core.errors import DiskFull

#: Left free beyond what the archive may take.
_SPARE_BYTES = 16 * 2**20


def require_room(folder: Path, content_bytes: int) -> None:
    """Raise `DiskFull`, with what is needed and what is free, where the archive would not fit."""
    free, needed = shutil.disk_usage(folder).free, content_bytes + _SPARE_BYTES
    if free < needed:
        raise DiskFull(
            f"The archive may need {_mib(needed)} MiB, and {_mib(free)} MiB are free on the disk "
            "of the data folder. Free some space, or choose less, no model files for example.",
            needed_bytes=needed,
            free_bytes=free,
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"
