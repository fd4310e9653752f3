"""Looks at some paths only: what a walk of the whole library would find there.

A path may be a model, a side file or a folder, and may be gone. Which records that concerns is for
the scan to ask: those of `Changes.keys`, and those below `Changes.below`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lora_manager_core.common.paths import path_key
from lora_manager_core.library.walk import FolderProblem, WalkResult, read_folder, reason


@dataclass(slots=True)
class Changes:
    """What lies at the paths now, and whose records it may concern.

    `keys` are comparison keys of files, `below` those of folders (or of what may have been one).
    """

    walked: WalkResult = field(default_factory=WalkResult)
    keys: set[str] = field(default_factory=set)
    below: set[str] = field(default_factory=set)


def look_at(
    paths: Iterable[Path],
    roots: Sequence[Path],
    check: Callable[[], None] = lambda: None,
    skip: Iterable[Path] = (),
) -> Changes:
    """Look at paths as they are spelled in the library; those outside all roots are passed over.

    `check` is called per folder and may raise to stop; folders of `skip` are passed over, and so
    are those whose name begins with a dot. Nothing is said of what lies below a root that is gone.
    """
    look = _Look(roots, check, skip)
    for path in dict.fromkeys(str(Path(path).absolute()) for path in paths):
        look.sort_in(path)
    look.read()
    return look.changes


class _Look:
    """The folders to read: with all below them, or only some stems."""

    def __init__(
        self, roots: Sequence[Path], check: Callable[[], None], skip: Iterable[Path]
    ) -> None:
        self._roots = [str(root.absolute()) for root in roots]
        self._check = check
        self._skipped = {path_key(path) for path in skip}
        self._whole: dict[str, str] = {}
        self._stems: dict[str, tuple[str, set[str]]] = {}
        self._problems: dict[str, OSError] = {}
        self.changes = Changes()

    def sort_in(self, path: str) -> None:
        """Decide what is to be read for one path."""
        root = next((root for root in self._roots if is_below(path, root)), None)
        if root is None or ".." in Path(path[len(root) :]).parts or self._is_skipped(path, root):
            return
        try:
            os.listdir(root) if path == root else os.stat(root)  # noqa: PTH208,PTH116 - texts
        except OSError as error:
            self._problems[root] = error
            return
        if os.path.isdir(path):  # noqa: PTH112 - texts, as in `walk`
            self._whole[path] = root
            self.changes.below.add(path_key(path))
            return
        key = path_key(path)
        self.changes.keys.add(key)
        folder, name = os.path.split(path)
        _, stems = self._stems.setdefault(folder, (root, set()))
        stem = name.lower()
        while "." in stem:
            stem = stem.rpartition(".")[0]
            stems.add(stem)
        if not os.path.lexists(path):
            self.changes.below.add(key)  # it may have been a folder

    def read(self) -> None:
        """Read the folders."""
        result = self.changes.walked
        entered: set[tuple[int, int]] = set()
        for top, root in sorted(self._whole.items()):
            self._read_below(root, top, entered)
        seen = {found.key for found in result.files}
        for folder, (root, stems) in sorted(self._stems.items()):
            self._check()
            here = WalkResult()
            try:
                read_folder(root, folder, set(), here, stems)
            except FileNotFoundError:
                continue  # gone with all that was in it
            except OSError as error:
                self._problems[folder] = error
            result.files.extend(found for found in here.files if found.key not in seen)
        result.files.sort(key=lambda found: found.path)
        result.problems.extend(
            FolderProblem(folder, reason(error)) for folder, error in self._problems.items()
        )
        self.changes.keys.update(found.key for found in result.files)

    def _read_below(self, root: str, top: str, entered: set[tuple[int, int]]) -> None:
        pending = [top]
        while pending:
            self._check()
            folder = pending.pop()
            if os.path.normcase(folder) in self._skipped:
                continue
            try:
                pending.extend(read_folder(root, folder, entered, self.changes.walked))
            except OSError as error:
                self._problems[folder] = error

    def _is_skipped(self, path: str, root: str) -> bool:
        """Whether a walk would not get there."""
        folder = path
        while len(folder) > len(root):
            if path_key(folder) in self._skipped:
                return True
            if os.path.basename(folder).startswith(".") and os.path.isdir(folder):  # noqa: PTH119,PTH112
                return True
            folder = os.path.dirname(folder)  # noqa: PTH120 - texts, as in `walk`
        return path_key(root) in self._skipped


def is_below(path: str, folder: str) -> bool:
    """Whether an absolute path is the folder or lies in it, as both are spelled."""
    key, top = os.path.normcase(path), os.path.normcase(folder)
    return key == top or key.startswith(top.rstrip(os.sep) + os.sep)
