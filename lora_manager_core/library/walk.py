"""Walks the library roots: which model files there are, and what lies beside each.

Roots may be several, nested or linked; a folder is entered once, however many ways lead to it, so
that a loop of links ends. Nothing is opened and nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from lora_manager_core.common.paths import MODEL_SUFFIXES, is_inside


@dataclass(slots=True)
class FoundFile:
    """One model file. `neighbours` are the files named after it, lower case → as they are."""

    path: str
    key: str
    stem: str
    folder: str
    size: int
    mtime_ns: int
    side_signature: str
    neighbours: Mapping[str, str] = field(repr=False)


_fields_of = attrgetter(*(f.name for f in fields(FoundFile)))


def as_fields(found: FoundFile) -> tuple[Any, ...]:
    """What `FoundFile(*fields)` makes equal; a tenth of what `astuple` takes."""
    return tuple(_fields_of(found))


@dataclass(frozen=True, slots=True)
class FolderProblem:
    """A folder that could not be read; what lies below it is left as it was."""

    path: str
    reason: str


@dataclass(slots=True)
class WalkResult:
    """What a walk found, sorted by path, and where it could not look.

    `unchanged` are the paths of files that are as they were known.
    """

    files: list[FoundFile] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    problems: list[FolderProblem] = field(default_factory=list)


#: Size, time stamp in nanoseconds and side files of a file.
Marks = tuple[int, int, str]
_NOTHING_KNOWN: Mapping[str, Marks] = {}


def walk_roots(
    roots: Sequence[Path],
    check: Callable[[], None] = lambda: None,
    skip: Iterable[Path] = (),
    known: Mapping[str, Marks] = _NOTHING_KNOWN,
) -> WalkResult:
    """Find every model file below the roots; `check` is called per folder and may raise to stop.

    Folders whose name begins with a dot are passed over, and so are those named by `skip`. Of files
    that still have the marks they are `known` by, only the path is told: that is most of them.
    """
    result = WalkResult()
    entered: set[tuple[int, int]] = set()
    skipped = {os.path.normcase(path.absolute()) for path in skip}
    for root in roots:
        base = str(root.absolute())
        pending = [base]
        while pending:
            check()
            folder = pending.pop()
            if os.path.normcase(folder) in skipped:
                continue
            try:
                pending.extend(read_folder(base, folder, entered, result, known=known))
            except OSError as error:
                result.problems.append(FolderProblem(folder, reason(error)))
    result.files.sort(key=lambda found: found.path)
    return result


def find_file(path: Path, roots: Sequence[Path]) -> FoundFile:
    """One model file as a walk would have found it; raises OSError if it is gone."""
    for found in _files_of(path.absolute().parent, roots):
        if os.path.basename(found.path) == path.name:  # noqa: PTH119 - texts, see below
            return found
    raise FileNotFoundError(path)


def find_files(paths: Iterable[Path], roots: Sequence[Path]) -> dict[str, FoundFile]:
    """Many model files as a walk would have found them, by path; those that are gone are not there.

    Each folder is listed once.
    """
    wanted: dict[Path, set[str]] = {}
    for path in paths:
        absolute = path.absolute()
        wanted.setdefault(absolute.parent, set()).add(str(absolute))
    result: dict[str, FoundFile] = {}
    for folder, names in wanted.items():
        with suppress(OSError):  # gone with all its files, or not to be read
            found = _files_of(folder, roots)
            result.update((file.path, file) for file in found if file.path in names)
    return result


def _files_of(folder: Path, roots: Sequence[Path]) -> list[FoundFile]:
    base = next((root for root in roots if is_inside(folder, root)), folder)
    result = WalkResult()
    read_folder(str(base.absolute()), str(folder), set(), result)
    return result.files


def read_folder(
    base: str,
    folder: str,
    entered: set[tuple[int, int]],
    result: WalkResult,
    stems: Container[str] | None = None,
    known: Mapping[str, Marks] = _NOTHING_KNOWN,
) -> list[str]:
    """Add the model files of one folder to `result`; gives its sub-folders, last one first.

    With `stems` (lower case), only models of these stems. Raises OSError if it cannot be read.
    """
    identity = os.stat(folder)  # noqa: PTH116 - ten thousand Path objects would cost more
    key = (identity.st_dev, identity.st_ino)
    if key in entered:
        return []
    subfolders: list[str] = []
    models: list[os.DirEntry[str]] = []
    entries: dict[str, os.DirEntry[str]] = {}
    with os.scandir(folder) as listing:
        for entry in listing:
            name = entry.name
            if entry.is_dir():
                if not name.startswith("."):
                    subfolders.append(entry.path)
                continue
            lower = name.lower()
            entries[lower] = entry
            if lower.endswith(MODEL_SUFFIXES) and (stems is None or _stem(lower) in stems):
                models.append(entry)
    entered.add(key)
    if models:
        relative = folder[len(base) :] if folder.startswith(base) else ""
        relative = relative.strip(os.sep).replace(os.sep, "/")
        by_stem = _group_by_stem(models, entries)
        for entry in models:
            _describe(entry, relative, by_stem, known, result)
    return sorted(subfolders, reverse=True)


def _group_by_stem(
    models: Sequence[os.DirEntry[str]], entries: Mapping[str, os.DirEntry[str]]
) -> dict[str, list[os.DirEntry[str]]]:
    """The files beside each model, by the model's stem without case: `stem.*`, in one pass."""
    stems: dict[str, list[os.DirEntry[str]]] = {_stem(model.name).lower(): [] for model in models}
    for name, entry in entries.items():
        stem = name
        while "." in stem:
            stem = stem.rpartition(".")[0]
            group = stems.get(stem)
            if group is not None:
                group.append(entry)
                break
    return stems


def _describe(
    entry: os.DirEntry[str],
    folder: str,
    by_stem: Mapping[str, Sequence[os.DirEntry[str]]],
    known: Mapping[str, Marks],
    result: WalkResult,
) -> None:
    try:
        status = entry.stat()
    except OSError:  # gone between listing and looking, or a dangling link
        return
    stem = _stem(entry.name)
    marks = []
    beside = by_stem[stem.lower()]
    for side in beside:
        if side.name == entry.name:
            continue
        try:
            side_status = side.stat()
        except OSError:
            continue
        marks.append(f"{side.name}:{side_status.st_size}:{side_status.st_mtime_ns}")
    marks.sort()
    path, signature = entry.path, "|".join(marks)
    if known.get(path) == (status.st_size, status.st_mtime_ns, signature):
        result.unchanged.append(path)
        return
    result.files.append(
        FoundFile(
            path=path,
            key=os.path.normcase(path),
            stem=stem,
            folder=folder,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            side_signature=signature,
            neighbours={side.name.lower(): side.name for side in beside},
        )
    )


def _stem(model_name: str) -> str:
    """A model file's name without its ending."""
    return model_name.rpartition(".")[0]


def reason(error: OSError) -> str:
    """Why a folder could not be read, for people."""
    if isinstance(error, FileNotFoundError):
        return "The folder does not exist; check the path, or connect its drive."
    if isinstance(error, PermissionError):
        return "The folder cannot be read; give this user the right to read it."
    return f"The folder cannot be read: {error.strerror or error}."
