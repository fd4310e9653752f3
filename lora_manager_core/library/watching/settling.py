"""Waits until files that change have come to rest, so that none is read while it is copied."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

#: A file that kept its size and time stamp for so long is complete.
QUIET_S = 0.9

Mark = tuple[int, ...] | None


def mark_of(path: str) -> Mark:
    """Size and time stamp of a file, or of a folder; None if it is gone or cannot be seen."""
    try:
        status = os.stat(path)  # noqa: PTH116 - thousands at once
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@dataclass(slots=True)
class _Waiting:
    mark: Mark
    due_at: float


class Settling:
    """Paths that changed, each until it is quiet. Times are seconds of any clock that only rises.

    `mark` is what must stay equal; it is looked at when a path is noted and when it may be due, so
    that ten thousand waiting ones cost nothing in between.
    """

    def __init__(self, mark: Callable[[str], Mark] = mark_of, quiet_s: float = QUIET_S) -> None:
        self._mark = mark
        self._quiet_s = quiet_s
        self._waiting: dict[str, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, paths: Iterable[str], now: float) -> None:
        """These have changed just now."""
        for path in paths:
            self._waiting[path] = _Waiting(self._mark(path), now + self._quiet_s)

    def take_due(self, now: float) -> list[str]:
        """Those that are quiet; they are waited for no longer."""
        due = []
        for path, waiting in list(self._waiting.items()):
            if waiting.due_at > now:
                continue
            mark = self._mark(path)
            if mark == waiting.mark:
                due.append(path)
                del self._waiting[path]
            else:
                self._waiting[path] = _Waiting(mark, now + self._quiet_s)
        return due

    def clear(self) -> None:
        """Forget all of them."""
        self._waiting.clear()
