"""This machine and this process by the operating system's account, through psutil."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from lora_manager_core.system.schemas import Disk

#: The shortest time over which a processor load means something.
_SHORTEST_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: the machine's memory, what of it is in use, and what this process holds of it."""

    total: int
    used: int
    process: int


def read_memory() -> Memory:
    """Look now. `used` is what is not available to programs without swapping."""
    memory = psutil.virtual_memory()
    return Memory(
        total=int(memory.total),
        used=int(memory.total - memory.available),
        process=int(psutil.Process().memory_info().rss),
    )


def read_disk(role: str, folder: Path) -> Disk:
    """The disk that a folder lies on, or will lie on; `role` says what the folder is for."""
    try:
        place = folder.absolute()
        while not place.exists() and place != place.parent:
            place = place.parent
        usage = psutil.disk_usage(str(place))
    except OSError as error:
        reason = f"The disk of this folder cannot be read: {error.strerror or error}."
        return Disk(role=role, path=str(folder), free_bytes=None, total_bytes=None, reason=reason)
    return Disk(
        role=role,
        path=str(folder),
        free_bytes=int(usage.free),
        total_bytes=int(usage.total),
        reason=None,
    )


def read_disks(folders: Iterable[tuple[str, Path]]) -> list[Disk]:
    """The disk of each folder, given as (role, folder)."""
    return [read_disk(role, folder) for role, folder in folders]


class ProcessorLoad:
    """The share of the processors in use between two looks; the first look has nothing to tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: tuple[float, float, float] | None = None
        self._load: float | None = None

    def read(self) -> float | None:
        """0..1 over all processors since the look before this one; None at the first."""
        times = psutil.cpu_times()
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        with self._lock:
            now = time.monotonic()
            if self._seen is None:
                self._seen = (now, total, idle)
            elif now - self._seen[0] >= _SHORTEST_LOOK_S and total > self._seen[1]:
                spent = total - self._seen[1]
                self._load = min(1.0, max(0.0, 1.0 - (idle - self._seen[2]) / spent))
                self._seen = (now, total, idle)
            return self._load
