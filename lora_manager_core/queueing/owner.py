"""The name a process puts on the leases of its jobs, from which others can tell that it is dead.

A lease would run out by itself; a name that says "this process of this machine" lets the next start
take up a dead process's jobs at once. Where there is any doubt, the process counts as alive.
"""

from __future__ import annotations

import hashlib
import os
import platform
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

#: A process of the same number that began this much later is another one. On Linux these are clock
#: ticks since boot, elsewhere seconds as the system noted them: equal up to rounding.
_SAME_START = 2.0


def new_owner() -> str:
    """A name for one lease of this process, no two alike: `machine/pid/start/image/lease`."""
    pid = os.getpid()
    return "/".join((_machine(), str(pid), f"{_started(pid):.2f}", _image(), uuid.uuid4().hex[:8]))


def is_dead(owner: str) -> bool:
    """Whether the process of that name is certainly gone; False for other machines' processes."""
    try:
        machine, number, began, image, _ = owner.split("/")
        pid, started = int(number), float(began)
    except ValueError:  # no name of ours
        return False
    if machine != _machine():
        return False
    if pid == os.getpid():
        # `execv` (a restart of SD.Next) keeps number and start, and forgets everything else
        return image != _image()
    now = _started(pid)
    return now is None or abs(now - started) > _SAME_START  # false for NaN


@cache
def _image() -> str:
    """Changes with each program image: a process that replaces itself is another one."""
    return uuid.uuid4().hex[:8]


@cache
def _machine() -> str:
    """This machine since it booted; containers differ by their process namespace."""
    parts = [platform.node()]
    with suppress(OSError):  # Linux only
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def _started(pid: int) -> float | None:
    """When that process began; None if there is none, NaN if it is not told."""
    with suppress(OSError):  # Linux: ticks since boot (proc_pid_stat(5), field 22)
        stat = Path(f"/proc/{pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else float(fields[19])
    if os.name == "posix" and _is_hidden(pid):
        return float("nan")
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:  # it is there, and not ours to look at
        return float("nan") if psutil.pid_exists(pid) else None


def _is_hidden(pid: int) -> bool:
    """Whether there is such a process of another user, which `/proc` may keep from us (hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        pass
    return False
