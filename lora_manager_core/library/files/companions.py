"""Which files belong to a model file, and where they go when it goes somewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lora_manager_core.common.paths import MODEL_SUFFIXES, require_inside
from lora_manager_core.errors import InvalidRequest
from lora_manager_core.library.walk import FoundFile, find_files

LibraryRoots = Callable[[], Sequence[Path]]


class Companions:
    """The files of models as they lie there now: each folder is listed once."""

    def __init__(self, roots: Sequence[Path], paths: Sequence[Path]) -> None:
        self._roots = roots
        self._found = find_files(paths, roots)

    def is_there(self, path: Path) -> bool:
        """Whether the model file is there."""
        return str(path.absolute()) in self._found

    def of(self, path: Path) -> list[Path]:
        """The model file, and all that is named after it; the model comes first.

        What is named after another model file as well (`a.pt` beside `a.safetensors`) stays.

        Raises:
            UnsafePath: it lies outside the roots, perhaps behind a link.
            InvalidRequest: a file is a link that would lead nowhere from another folder.
        """
        require_inside(str(path.parent), self._roots, "The model file")
        found = self._found.get(str(path.absolute()))
        if found is None:
            return []
        folder = path.parent
        files = [path] if _shares_its_name(found, path) else _own(found, path)
        for file in files:
            if file.is_symlink() and not os.path.isabs(os.readlink(file)):  # noqa: PTH117, PTH115
                raise InvalidRequest(
                    f"{file} is a link relative to its folder {folder}; move what it points to, "
                    "and the link, by hand."
                )
        return files


def _own(found: FoundFile, path: Path) -> list[Path]:
    return [path, *(path.with_name(n) for n in found.neighbours.values() if n != path.name)]


def _shares_its_name(found: FoundFile, path: Path) -> bool:
    return any(
        name.endswith(MODEL_SUFFIXES) and real != path.name
        for name, real in found.neighbours.items()
    )


def moved_with(files: Sequence[Path], destination: Path) -> list[tuple[Path, Path]]:
    """Where the files of a model go when it (the first of them) goes to `destination`."""
    model = files[0]
    stem = model.name.rpartition(".")[0]
    new_stem = destination.name.rpartition(".")[0]
    moves = [(model, destination)]
    for file in files[1:]:
        if file.name[: len(stem)].lower() == stem.lower():
            moves.append((file, destination.with_name(new_stem + file.name[len(stem) :])))
    return moves
