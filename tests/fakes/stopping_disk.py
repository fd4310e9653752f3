"""A disk on which everything stops at a given step, as if the process had been killed there."""

from __future__ import annotations

import errno
from pathlib import Path

from lora_manager_core.common.file_journal import Disk


class Killed(BaseException):
    """The process is gone; nothing in it may act on this."""


class StoppingDisk(Disk):
    """Does that many changes and no more; with None it stops when told to.

    What lies below `apart` is on another volume than the rest.
    """

    def __init__(self, steps: int | None, apart: Path | None = None) -> None:
        self._left = steps
        self._apart = apart
        self._failure: BaseException = Killed()
        #: Changes that were made.
        self.steps = 0

    def stop_after(self, steps: int, failure: BaseException) -> None:
        """From now on; an error that is not `Killed` comes once: what is done about it works."""
        self._left, self._failure = steps, failure

    def volume(self, path: Path) -> int:
        return int(self._apart is not None and path.is_relative_to(self._apart))

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        if self.volume(source) != self.volume(target):
            raise OSError(errno.EXDEV, "another volume")
        super().rename(source, target)

    def copy(self, source: Path, target: Path) -> None:
        self._step()
        super().copy(source, target)

    def make_folder(self, folder: Path) -> None:
        self._step()
        super().make_folder(folder)

    def remove_folder_if_empty(self, folder: Path) -> None:
        self._step()
        super().remove_folder_if_empty(folder)

    def remove_tree(self, folder: Path) -> None:
        self._step()
        for path in sorted(folder.glob("*")):  # one by one: it may stop in the middle, too
            path.unlink()
            self._step()
        super().remove_tree(folder)

    def write(self, path: Path, content: bytes) -> None:
        self._step()
        super().write(path, content)

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)

    def _step(self) -> None:
        if self._left == 0:
            if not isinstance(self._failure, Killed):
                self._left = None
            raise self._failure
        if self._left is not None:
            self._left -= 1
        self.steps += 1


class CaseBlindDisk(Disk):
    """Names differ by more than case, as on Windows and on most Macs."""

    def exists(self, path: Path) -> bool:
        return path.parent.is_dir() and path.name.lower() in map(str.lower, self.names(path.parent))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(self._real(source), target)

    def _real(self, path: Path) -> Path:
        names = {name.lower(): name for name in self.names(path.parent)}
        return path.with_name(names[path.name.lower()])
