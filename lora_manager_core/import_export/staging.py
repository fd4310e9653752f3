"""Puts many files in their places, all or none, even if the process is killed in between.

New files are written beside their targets, in a hidden folder of the same volume. Before the first
one moves, a journal says what will move where; whoever finds a journal can bring back what was, or
clear away what is no longer needed, from the journal and the files alone. Which of the two is told
by the job's row: moves happen inside the unit of work that ends it.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from lora_manager_core.common.files import remove_leftovers, write_whole
from lora_manager_core.errors import DiskFull, LibraryChanged, StorageFailed, UnsafePath

_log = logging.getLogger(__name__)

#: The hidden folder; scans pass over names that begin with a dot.
STAGING_FOLDER = ".lora-manager-staging"
#: What a job's row tells: it ended well; it ended otherwise, or its process is dead; somebody may
#: be at it.
JobState = Literal["succeeded", "over", "alive"]

_UNFINISHED = ".unfinished"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Disk:
    """What is done to files; tests put one in its place that stops after so many steps."""

    def exists(self, path: Path) -> bool:
        """Whether anything has that name, a dangling link included."""
        return os.path.lexists(path)

    def names(self, folder: Path) -> list[str]:
        """The names in a folder as they are written there."""
        return os.listdir(folder)  # noqa: PTH208 - names are wanted, not paths

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, which is free."""
        source.rename(target)

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it; none has to be missing."""
        folder.mkdir(parents=True, exist_ok=True)

    def remove_folder_if_empty(self, folder: Path) -> None:
        """Remove it unless something is in it."""
        with suppress(OSError):
            folder.rmdir()

    def remove_tree(self, folder: Path) -> None:
        """Remove a folder with all that is in it; it may be gone."""
        if folder.exists():
            shutil.rmtree(folder)

    def write(self, path: Path, content: bytes) -> None:
        """Write a small file whole, on the disk when this returns."""
        write_whole(path, content, path.parent / _UNFINISHED)

    def remove(self, path: Path) -> None:
        """Remove a file; it may be gone."""
        path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Move:
    """One file: from where to where. `present` is what lies there now, to be kept at `aside`."""

    staged: Path
    destination: Path
    aside: Path
    present: Path | None = None


@dataclass(slots=True)
class _Journal:
    """What is known of one job's files: its hidden folders, what moves, the folders it makes.

    Without moves, the hidden folders are rubbish once the job is over.
    """

    staging: list[Path] = field(default_factory=list)
    moves: list[_Move] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def to_json(self) -> bytes:
        return orjson.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, content: bytes) -> _Journal:
        known: dict[str, Any] = orjson.loads(content)
        moves = [
            _Move(
                Path(move["staged"]),
                Path(move["destination"]),
                Path(move["aside"]),
                None if move["present"] is None else Path(move["present"]),
            )
            for move in known["moves"]
        ]
        return cls([*map(Path, known["staging"])], moves, [*map(Path, known["folders"])])


@dataclass(frozen=True, slots=True)
class _Added:
    staged: Path
    destination: Path
    replace: bool


class StagedFiles:
    """The files of one attempt at a job. `roots` are the folders that may be written to.

    Ask for a path with `new`, write the file there, `add` it; `publish` moves all. Then `finish`,
    or `undo`. All of them may be called again, also after a call that failed.
    """

    def __init__(
        self, journals: Path, job_id: str, roots: Sequence[Path], disk: Disk | None = None
    ) -> None:
        self._path = _journal_path(journals, job_id)
        self._job_id = job_id
        self._roots = roots
        self._disk = disk or Disk()
        self._journal = _Journal()
        self._added: list[_Added] = []
        self._asked = 0

    def new(self, destination: Path) -> Path:
        """A path to write a new file to, on the volume of its destination.

        Raises:
            UnsafePath: the destination lies in none of the roots.
            StorageFailed: the hidden folder cannot be made.
        """
        folder = self._volume_top(destination) / STAGING_FOLDER / self._job_id
        if folder not in self._journal.staging:
            with storage_errors(folder):
                # First the journal, so that a folder which nobody knows of cannot be.
                self._journal.staging.append(folder)
                self._write_journal()
                self._disk.make_folder(folder)
        self._asked += 1
        return folder / f"{self._asked}.part"

    def add(
        self, staged: Path, destination: Path, mtime_ns: int | None = None, replace: bool = False
    ) -> None:
        """Say where a finished file belongs; with `replace` it takes the place of what is there."""
        if mtime_ns is not None:
            with storage_errors(staged):
                os.utime(staged, ns=(mtime_ns, mtime_ns))
        self._added.append(_Added(staged, destination, replace))

    def publish(self) -> None:
        """Move every file to its place, and what it replaces aside.

        Raises (and then everything is as it was, and nothing staged is left):
            LibraryChanged: something lies at a destination that was not to be replaced.
            UnsafePath: a destination lies outside the roots by now.
            StorageFailed, DiskFull: a file could not be moved; it may be in use.
        """
        try:
            if self._added and not self._journal.moves:
                self._plan()
            for folder in self._journal.folders:
                with storage_errors(folder):
                    self._disk.make_folder(folder)
            for move in self._journal.moves:
                with storage_errors(move.destination):
                    self._publish(move)
        except (StorageFailed, LibraryChanged, UnsafePath):
            self.undo()
            raise

    def undo(self) -> None:
        """Bring back what was and remove what was staged; no effect once finished.

        What cannot be moved back now (a file is in use) is moved back by the next start.
        """
        self._added.clear()
        _undo(self._path, self._journal, self._disk)

    def finish(self) -> None:
        """Remove what was replaced; after the commit of the job, never before."""
        self._added.clear()
        _clear(self._path, self._journal, self._disk)

    def _plan(self) -> None:
        """Look at every destination as it is now, and write down what will be done."""
        moves, folders = [], dict[Path, None]()
        for number, added in enumerate(self._added):
            destination, staged = added.destination, added.staged
            self._root_of(destination)
            with storage_errors(destination):
                folders.update(dict.fromkeys(self._missing(destination.parent)))
                present = self._present(destination)
            if present is not None and (not added.replace or present.is_dir()):
                raise _in_the_way(destination)
            aside = staged.with_name(f"{number}.replaced")
            moves.append(_Move(staged, destination, aside, present))
        self._journal.moves, self._journal.folders = moves, list(folders)
        try:
            with storage_errors(self._path):
                self._write_journal()
        except StorageFailed:
            self._journal.moves, self._journal.folders = [], []
            raise

    def _publish(self, move: _Move) -> None:
        disk = self._disk
        if not disk.exists(move.staged):  # an earlier call moved it
            if disk.exists(move.destination):
                return
            raise LibraryChanged(f"{move.destination} was moved away meanwhile; begin again.")
        self._root_of(move.destination)
        if move.present is not None and not disk.exists(move.aside) and disk.exists(move.present):
            disk.rename(move.present, move.aside)
        if disk.exists(move.destination):
            raise _in_the_way(move.destination)
        disk.rename(move.staged, move.destination)

    def _present(self, destination: Path) -> Path | None:
        """What has that name now, as it is written: its case may differ where that is the same."""
        if not self._disk.exists(destination):
            return None
        names = self._disk.names(destination.parent)
        if destination.name in names:
            return destination
        wanted = destination.name.casefold()
        alike = [name for name in names if name.casefold() == wanted]
        return destination.with_name(alike[0]) if alike else destination

    def _missing(self, folder: Path) -> list[Path]:
        """The folders that have to be made for this one, top first."""
        missing = []
        while not self._disk.exists(folder):
            missing.append(folder)
            folder = folder.parent
        return missing[::-1]

    def _root_of(self, destination: Path) -> Path:
        folder = destination.parent.resolve()
        for root in self._roots:
            if folder.is_relative_to(root.resolve()):
                return root.resolve()
        raise UnsafePath(
            f"{destination} does not lie in a folder that may be written to: the library folders, "
            "the import path and the output folder."
        )

    def _volume_top(self, destination: Path) -> Path:
        """The topmost folder within the root on the volume where the destination will be."""
        root = self._root_of(destination)
        folder = destination.parent.resolve()
        while not folder.exists() and folder != root:
            folder = folder.parent
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)  # a root that is not there yet
            volume = folder.stat().st_dev
            while folder != root and folder.parent.stat().st_dev == volume:
                folder = folder.parent
        return folder

    def _write_journal(self) -> None:
        self._disk.write(self._path, self._journal.to_json())


def undo_earlier(journals: Path, job_id: str, disk: Disk | None = None) -> None:
    """Take back what an earlier attempt at a job left; for the beginning of the next one.

    Raises:
        StorageFailed: a file cannot be moved back; it may be in use.
    """
    path = _journal_path(journals, job_id)
    journal = _read(path)
    if journal is not None and not _undo(path, journal, disk or Disk()):
        raise StorageFailed(
            "Files of an earlier attempt could not be moved back; the log names them. Close the "
            "programs that use them and try again."
        )


def recover_staged(
    journals: Path, state_of_job: Callable[[str], JobState], disk: Disk | None = None
) -> None:
    """Deal with what dead processes left: finish what became true, take back the rest."""
    if not journals.is_dir():
        return
    remove_leftovers(journals / _UNFINISHED)
    for path in sorted(journals.glob("*.json")):
        journal, state = _read(path), state_of_job(path.stem)
        if journal is None or state == "alive":
            continue
        _log.info("taking up the files that job %s left (%s)", path.stem, state)
        act = _clear if state == "succeeded" else _undo
        act(path, journal, disk or Disk())


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Tell what goes wrong with a file as an error of ours that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"The disk is full: {path} could not be written. Free some space and try again."
            ) from error
        if isinstance(error, PermissionError):
            raise StorageFailed(
                f"{path} cannot be written or moved: it is in use by another program, or this "
                "user may not do so. Nothing was changed."
            ) from error
        raise StorageFailed(
            f"{path} cannot be written or moved: {error.strerror or error}."
        ) from error


def _undo(path: Path, journal: _Journal, disk: Disk) -> bool:
    """Move everything back, last first; False if a file could not be, and the journal stays."""
    whole = True
    for move in reversed(journal.moves):
        try:
            _move_back(move, disk)
        except OSError as error:
            _log.error("%s could not be put back as it was: %s", move.destination, error)
            whole = False
    if whole:
        for folder in reversed(journal.folders):
            disk.remove_folder_if_empty(folder)
        _clear(path, journal, disk)
    return whole


def _move_back(move: _Move, disk: Disk) -> None:
    """Tell from the files how far this move came, and go the way back."""
    if move.present is not None and not disk.exists(move.aside):
        return  # not begun, or back already
    if not disk.exists(move.staged) and disk.exists(move.destination):
        disk.make_folder(move.staged.parent)
        disk.rename(move.destination, move.staged)
    if move.present is not None:
        if disk.exists(move.present):
            raise FileExistsError(
                f"something else lies there now; what was there is kept as {move.aside}"
            )
        disk.rename(move.aside, move.present)


def _clear(path: Path, journal: _Journal, disk: Disk) -> None:
    """Forget the moves, then remove the hidden folders, then the journal itself."""
    if not journal.staging:
        return
    try:
        if journal.moves:
            # From here on nothing may be moved back: what could be is about to go.
            journal.moves, journal.folders = [], []
            disk.write(path, journal.to_json())
        for folder in journal.staging:
            disk.remove_tree(folder)
            disk.remove_folder_if_empty(folder.parent)
        disk.remove(path)
    except OSError as error:
        _log.warning("rubbish of %s stays until the next start: %s", path.stem, error)
    else:
        journal.staging = []


def _read(path: Path) -> _Journal | None:
    try:
        return _Journal.from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):  # damaged by others: it is always written whole
        _log.error("%s cannot be read; look for files in %s folders", path, STAGING_FOLDER)
        return None


def _journal_path(journals: Path, job_id: str) -> Path:
    return journals / f"{job_id}.json"


def _in_the_way(destination: Path) -> LibraryChanged:
    return LibraryChanged(
        f"{destination} appeared meanwhile, and nothing is overwritten unasked; begin again."
    )
