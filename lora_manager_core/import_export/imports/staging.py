"""Puts many files in their places, all or none, even if the process is killed in between.

New files are written beside their targets, in a hidden folder of the same volume. Before the first
one moves, a journal says what will move where; whoever finds a journal can bring back what was, or
clear away what is no longer needed, from the journal and the files alone. Which of the two is told
by the job's row: moves happen inside the unit of work that ends it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_manager_core.common.file_journal import (
    Disk,
    Journal,
    Move,
    find_journals,
    forget,
    read_journal,
    take_back,
)
from lora_manager_core.common.storage import storage_errors
from lora_manager_core.errors import LibraryChanged, StorageFailed, UnsafePath

_log = logging.getLogger(__name__)

#: The hidden folder; scans pass over names that begin with a dot.
STAGING_FOLDER = ".lora-manager-staging"
#: What a job's row tells: it ended well; it ended otherwise, or its process is dead; somebody may
#: be at it.
JobState = Literal["succeeded", "over", "alive"]


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
        self._roots = [root.resolve() for root in roots]
        self._disk = disk or Disk()
        self._journal = Journal()
        self._added: list[_Added] = []
        self._asked = 0
        #: Where files for a folder are staged.
        self._staging: dict[Path, Path] = {}

    def new(self, destination: Path) -> Path:
        """A path to write a new file to, on the volume of its destination.

        Raises:
            UnsafePath: the destination lies in none of the roots.
            StorageFailed: the hidden folder cannot be made.
        """
        folder = self._staging.get(destination.parent)
        if folder is None:
            folder = self._volume_top(destination) / STAGING_FOLDER / self._job_id
            self._staging[destination.parent] = folder
        if folder not in self._journal.staging:
            with storage_errors(folder):
                # First the journal, so that a folder which nobody knows of cannot be.
                self._journal.staging.append(folder)
                self._journal.above += self._missing(folder.parent)
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

    def prepare(self) -> None:
        """Write down what `publish` will do, which then has only to do it; nothing moves yet.

        Raises as `publish` does, and then leaves what is staged to `undo`.
        """
        if self._added and not self._journal.moves:
            self._plan()

    def publish(self) -> None:
        """Move every file to its place, and what it replaces aside.

        Raises (and then everything is as it was, and nothing staged is left):
            LibraryChanged: something lies at a destination that was not to be replaced.
            UnsafePath: a destination lies outside the roots by now.
            StorageFailed, DiskFull: a file could not be moved; it may be in use.
        """
        try:
            self.prepare()
            for folder in self._journal.folders:
                with storage_errors(folder):
                    self._disk.make_folder(folder)
            for folder in {move.destination.parent for move in self._journal.moves}:
                self._root_of(folder)
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
        take_back(self._path, self._journal, self._disk)

    def finish(self) -> None:
        """Remove what was replaced; after the commit of the job, never before."""
        self._added.clear()
        forget(self._path, self._journal, self._disk)

    def _plan(self) -> None:
        """Look at every destination as it is now, and write down what will be done."""
        moves, folders = [], dict[Path, None]()
        for folder in {added.destination.parent for added in self._added}:
            self._root_of(folder)
            with storage_errors(folder):
                folders.update(dict.fromkeys(self._missing(folder)))
        for number, added in enumerate(self._added):
            destination, staged = added.destination, added.staged
            with storage_errors(destination):
                present = self._present(destination)
            if present is not None and (not added.replace or present.is_dir()):
                raise _in_the_way(destination)
            aside = staged.with_name(f"{number}.replaced")
            moves.append(Move(staged, destination, aside, present))
        self._journal.moves, self._journal.folders = moves, list(folders)
        try:
            with storage_errors(self._path):
                self._write_journal()
        except StorageFailed:
            self._journal.moves, self._journal.folders = [], []
            raise

    def _publish(self, move: Move) -> None:
        disk = self._disk
        if not disk.exists(move.staged):  # an earlier call moved it
            if disk.exists(move.destination):
                return
            raise LibraryChanged(f"{move.destination} was moved away meanwhile; begin again.")
        aside, present = move.aside, move.present
        if aside and present and not disk.exists(aside) and disk.exists(present):
            disk.rename(present, aside)
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

    def _root_of(self, folder: Path) -> Path:
        resolved = folder.resolve()
        for root in self._roots:
            if resolved.is_relative_to(root):
                return root
        raise UnsafePath(
            f"{folder} does not lie in a folder that may be written to: the library folders, "
            "the import path and the output folder."
        )

    def _volume_top(self, destination: Path) -> Path:
        """The topmost folder within the root on the volume where the destination will be."""
        root = self._root_of(destination.parent)
        folder = destination.parent.resolve()
        with storage_errors(folder):
            while not folder.exists():
                folder = folder.parent
            if not folder.is_relative_to(root):
                return root  # it is not there yet
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
    journal = read_journal(path)
    if journal is not None and not take_back(path, journal, disk or Disk()):
        raise StorageFailed(
            "Files of an earlier attempt could not be moved back; the log names them. Close the "
            "programs that use them and try again."
        )


def recover_staged(
    journals: Path, state_of_job: Callable[[str], JobState], disk: Disk | None = None
) -> None:
    """Deal with what dead processes left: finish what became true, take back the rest."""
    for path in find_journals(journals):
        journal, state = read_journal(path), state_of_job(path.stem)
        if journal is None or state == "alive":
            continue
        _log.info("taking up the files that job %s left (%s)", path.stem, state)
        act = forget if state == "succeeded" else take_back
        act(path, journal, disk or Disk())


def _journal_path(journals: Path, job_id: str) -> Path:
    return journals / f"{job_id}.json"


def _in_the_way(destination: Path) -> LibraryChanged:
    return LibraryChanged(
        f"{destination} appeared meanwhile, and nothing is overwritten unasked; begin again."
    )
