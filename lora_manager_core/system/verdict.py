"""What the figures come to: one word for the whole, and each problem in a line with its way out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lora_manager_core.backends.base import BackendStatus
from lora_manager_core.queueing.load import QueueLoad
from lora_manager_core.system.schemas import Disk, StatusWord

DATABASE_SILENT = "The database cannot be read; the log says why."
NO_BACKEND = "No backend is set up, so no pictures can be made; set SDNEXT_URL or DIFFUSERS_MODEL."
#: Below this a disk is as good as full: one large batch or a backup fills it.
_LITTLE_SPACE = 1024**3


def status_word(database_answers: bool, started: bool, problems: Sequence[str]) -> StatusWord:
    """The rules stand at `SystemStatus`."""
    if not database_answers:
        return "error"
    if not started:
        return "starting"
    return "degraded" if problems else "ready"


def find_problems(
    backend_name: str | None,
    backend: BackendStatus | None,
    load: QueueLoad | None,
    disks: Iterable[Disk],
) -> Iterator[str]:
    """Everything that keeps pictures or scans from being made.

    `backend` is the default backend's last answer, None before the first; `load` is None where the
    database does not answer.
    """
    if load is None:
        yield DATABASE_SILENT
    elif load.problem is not None:
        yield load.problem
    elif load.waiting and not load.workers:
        yield f"{load.waiting} jobs wait, and there is no worker; start one."
    if backend_name is None:
        yield NO_BACKEND
    elif backend is None:
        yield f"The backend “{backend_name}” has not answered yet."
    elif not backend.available:
        yield backend.reason or f"The backend “{backend.name}” is not available."
    for disk in disks:
        if disk.role == "library":
            if not Path(disk.path).is_dir():
                yield f"The library folder {disk.path} is not there; mount it or correct its path."
        elif disk.reason is not None:
            yield disk.reason
        elif disk.free_bytes is not None and disk.free_bytes < _LITTLE_SPACE:
            yield f"Less than 1 GiB is free on the disk of {disk.path}; free some space."
