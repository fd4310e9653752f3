"""The folders of the library: which there are, through which links, and which of them changed.

A folder's time stamp tells of files that came, went or were renamed in it, not of one written anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from lora_manager_core.common.paths import path_key
from lora_manager_core.library.changes import is_below


class FolderTree:
    """All folders below some roots as a walk enters them, each with its time stamp.

    `doors` are the roots and the links through which they were entered: (real path, as spelled).
    """

    def __init__(self, roots: Sequence[Path], skip: Iterable[Path] = ()) -> None:
        self._roots = [str(root.absolute()) for root in roots]
        self._skipped = {path_key(path) for path in skip}
        self._stamps: dict[str, int] = {}
        self._below: dict[str, list[str]] = {}
        self._real: dict[str, str | None] = {}
        self.doors: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._stamps)

    def sweep(self) -> list[str]:
        """The folders that are new, changed or gone since the last time; at first all are new."""
        before, below = self._stamps, self._below
        self._stamps, self._below, self.doors = {}, {}, []
        entered: set[tuple[int, int]] = set()
        changed: list[str] = []
        for root in self._roots:
            pending = [root]
            while pending:
                folder = pending.pop()
                if os.path.normcase(folder) in self._skipped:
                    continue
                try:
                    status = os.stat(folder)  # noqa: PTH116 - texts, as in `walk`
                    identity = (status.st_dev, status.st_ino)
                    if identity in entered:
                        continue
                    known = before.get(folder) == status.st_mtime_ns
                    folders = below[folder] if known else _subfolders(folder)
                except OSError:
                    continue
                entered.add(identity)
                self._stamps[folder], self._below[folder] = status.st_mtime_ns, folders
                real = self._door(folder, root)
                if real is not None:
                    self.doors.append((real, folder))
                if not known:
                    changed.append(folder)
                pending.extend(folders)
        gone = [folder for folder in before if folder not in self._stamps]
        for folder in gone:
            self._real.pop(folder, None)
        return [*changed, *gone]

    def outside(self) -> list[str]:
        """Real folders that links lead to and that lie below none of the roots."""
        tops = [os.path.realpath(root) for root in self._roots]
        return [
            real
            for real, spelled in self.doors
            if spelled not in self._roots and not any(is_below(real, top) for top in tops)
        ]

    def spelled(self, path: str) -> str:
        """A path as a walk spells it, whichever way the system told it."""
        if all(real == spelled for real, spelled in self.doors):
            return path
        folder, name = os.path.split(path)
        true = os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - texts
        # A link itself, or a folder that one leads to: that door is the folder's own name.
        doors = [door for door in self.doors if is_below(true, door[0])]
        if not doors or path in (spelled for _, spelled in self.doors):
            return path
        real, spelled = max(doors, key=lambda door: len(door[0]))
        return spelled + true[len(real) :] if len(true) > len(real) else spelled

    def _door(self, folder: str, root: str) -> str | None:
        """The real path of a folder that is a way in; None for all that lie plainly below one."""
        if folder not in self._real:
            is_door = folder == root or _is_link(folder)
            self._real[folder] = os.path.realpath(folder) if is_door else None
        return self._real[folder]


def _subfolders(folder: str) -> list[str]:
    with os.scandir(folder) as listing:
        found = [e.path for e in listing if not e.name.startswith(".") and e.is_dir()]
    return sorted(found, reverse=True)


def _is_link(folder: str) -> bool:
    """Also the junctions of Windows, which are no symbolic links."""
    above, name = os.path.split(folder)
    plain = os.path.join(os.path.realpath(above), name)  # noqa: PTH118 - texts
    return os.path.normcase(os.path.realpath(folder)) != os.path.normcase(plain)
