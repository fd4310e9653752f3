"""The journal of files that move together: what it says, and how it is acted on after a kill.

How far each move came is told by the files themselves; so all here may be done again at any time.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lora_manager_core.common.files import remove_leftovers, write_whole

_log = logging.getLogger(__name__)

_UNFINISHED = ".unfinished"
_PIECE_BYTES = 2**20


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

    def volume(self, path: Path) -> int:
        """The volume on which a path lies, or will: files are renamed within one only."""
        while not path.exists():
            path = path.parent
        return path.stat().st_dev

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file with its times, and read the copy back; raises OSError if they differ."""
        written = hashlib.sha256()
        with source.open("rb") as reading, target.open("xb") as writing:
            while piece := reading.read(_PIECE_BYTES):
                written.update(piece)
                writing.write(piece)
            writing.flush()
            os.fsync(writing.fileno())
        shutil.copystat(source, target)
        read_back = hashlib.sha256()
        with target.open("rb") as copied:
            while piece := copied.read(_PIECE_BYTES):
                read_back.update(piece)
        if written.digest() != read_back.digest():
            raise OSError(errno.EIO, "what was written is not what is read back")

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
class Move:
    """One file: from where to where. `present` is what lies there now, to be kept at `aside`."""

    staged: Path
    destination: Path
    aside: Path | None = None
    present: Path | None = None


_PATH_LISTS = ("staging", "above", "folders", "copied")


@dataclass(slots=True)
class Journal:
    """What is known of the files: the hidden folders, what moves, the folders that are made.

    Without moves, the hidden folders are rubbish once all is over. `above` are the folders that
    had to be made for them. `copied` are files of which a copy moves, to be removed at the end.
    `note` is what the owner of the journal wants to know after a kill.
    """

    staging: list[Path] = field(default_factory=list)
    above: list[Path] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    copied: list[Path] = field(default_factory=list)
    note: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """As it is stored."""
        # By hand: `asdict` copies every path deeply, which for 10,000 files takes seconds.
        moves = [
            {
                "staged": str(move.staged),
                "destination": str(move.destination),
                "aside": None if move.aside is None else str(move.aside),
                "present": None if move.present is None else str(move.present),
            }
            for move in self.moves
        ]
        known = {name: getattr(self, name) for name in _PATH_LISTS}
        return orjson.dumps({**known, "moves": moves, "note": self.note}, default=str)

    @classmethod
    def from_json(cls, content: bytes) -> Journal:
        """What was stored; raises ValueError, TypeError or KeyError if it is damaged."""
        known: dict[str, Any] = orjson.loads(content)
        moves = [
            Move(
                Path(move["staged"]),
                Path(move["destination"]),
                None if move["aside"] is None else Path(move["aside"]),
                None if move["present"] is None else Path(move["present"]),
            )
            for move in known["moves"]
        ]
        # Those of earlier versions know of no copies.
        lists = {name: [Path(path) for path in known.get(name, ())] for name in _PATH_LISTS}
        return cls(**lists, moves=moves, note=known.get("note", {}))


def take_back(path: Path, journal: Journal, disk: Disk) -> bool:
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
        journal.copied = []
        forget(path, journal, disk)
    return whole


def _move_back(move: Move, disk: Disk) -> None:
    """Tell from the files how far this move came, and go the way back."""
    if move.aside is not None and move.present is not None and not disk.exists(move.aside):
        return  # not begun, or back already
    if not disk.exists(move.staged) and disk.exists(move.destination):
        disk.make_folder(move.staged.parent)
        disk.rename(move.destination, move.staged)
    if move.aside is not None and move.present is not None:
        if disk.exists(move.present):
            raise FileExistsError(
                f"something else lies there now; what was there is kept as {move.aside}"
            )
        disk.rename(move.aside, move.present)


def forget(path: Path, journal: Journal, disk: Disk) -> None:
    """Forget the moves, then remove what was copied and the hidden folders, then the journal."""
    try:
        if journal.moves:
            # From here on nothing may be moved back: what could be is about to go.
            journal.moves, journal.folders = [], []
            disk.write(path, journal.to_json())
        for original in journal.copied:
            disk.remove(original)
        for folder in journal.staging:
            disk.remove_tree(folder)
            disk.remove_folder_if_empty(folder.parent)
        for folder in reversed(journal.above):
            disk.remove_folder_if_empty(folder)
        disk.remove(path)
    except OSError as error:
        _log.warning("rubbish of %s stays until the next start: %s", path.stem, error)
    else:
        journal.staging, journal.above, journal.copied = [], [], []


def read_journal(path: Path) -> Journal | None:
    """What a journal says; None if there is none, or none that can be read."""
    try:
        return Journal.from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):  # damaged by others: it is always written whole
        _log.error("%s cannot be read; look for what it tells of in hidden folders", path)
        return None


def find_journals(folder: Path) -> list[Path]:
    """The journals that lie there; what a dead process began to write is removed."""
    if not folder.is_dir():
        return []
    remove_leftovers(folder / _UNFINISHED)
    return sorted(folder.glob("*.json"))
