"""Moves files together with the records that know of them: both, or neither, also after a kill.

A journal says what moves where before anything does. The moves happen inside the unit of work that
changes the records; afterwards, or at the next start, the database tells whether it was committed,
and the files follow it. Within a volume files are renamed; to another one they are copied before
the unit of work, compared, moved into place inside it, and the originals go at the end. Nothing is
ever overwritten.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

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
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import LibraryChanged
from lora_manager_core.library.files.repository import FileRecords
from lora_manager_core.queueing.owner import is_dead, new_owner

_log = logging.getLogger(__name__)

#: Where copies wait on the volume of their place; scans pass over names that begin with a dot.
_STAGING = ".lora-manager-moving"

#: From where to where.
FileMove = tuple[Path, Path]


@dataclass(frozen=True, slots=True)
class Proof:
    """What is true in the database once the change is committed, and not before.

    The undo entry `subject` has the state `value`; or, without a state, the record `subject` has
    the file `value`.
    """

    kind: str
    subject: str
    value: str

    @classmethod
    def of_entry(cls, undo_id: str, state: str) -> Proof:
        """The entry has that state."""
        return cls("entry", undo_id, state)

    @classmethod
    def of_record(cls, adapter_id: str, path: Path) -> Proof:
        """The record has that file, spelled so."""
        return cls("record", adapter_id, str(path))


class FileActs:
    """Moves of files, each with its journal. `is_gone` tells whether who wrote one is dead."""

    def __init__(
        self,
        database: Database,
        journals: Path,
        disk: Disk | None = None,
        is_gone: Callable[[str], bool] = is_dead,
    ) -> None:
        self._database = database
        self._journals = journals
        self._disk = disk or Disk()
        self._is_gone = is_gone

    @contextmanager
    def act(self, moves: Sequence[FileMove], proof: Proof) -> Iterator[Callable[[], None]]:
        """Open it around a unit of work, and call what it gives at the end of that unit.

        Raises (and then all files are where they were):
            LibraryChanged: something lies at a destination.
            StorageFailed, DiskFull: a file cannot be moved; it may be in use.
        """
        act = _Act(self._journals / f"{uuid.uuid4().hex}.json", moves, proof, self._disk)
        try:
            act.prepare()
            yield act.carry_out
        finally:
            if act.is_noted:
                act.settle(self._is_true(proof))

    def is_taken(self, source: Path, destination: Path) -> bool:
        """Whether something else than the file itself lies at its destination."""
        return _is_taken(self._disk, source, destination)

    def recover(self) -> None:
        """Deal with what dead processes left: the files follow what was committed."""
        for path in find_journals(self._journals):
            journal = read_journal(path)
            if journal is None or not self._is_gone(journal.note["owner"]):
                continue
            proof = Proof(*(journal.note[name] for name in ("kind", "subject", "value")))
            was_committed = self._is_true(proof)
            _log.info("taking up moved files of %s (committed: %s)", path.stem, was_committed)
            (forget if was_committed else take_back)(path, journal, self._disk)

    def _is_true(self, proof: Proof) -> bool:
        with self._database.read() as session:
            records = FileRecords(session)
            if proof.kind == "entry":
                return records.entry_state(proof.subject) == proof.value
            return records.file_path(proof.subject) == proof.value


class _Act:
    """One journal, and the moves in it."""

    def __init__(self, path: Path, moves: Sequence[FileMove], proof: Proof, disk: Disk) -> None:
        self._path = path
        self._wanted = moves
        self._disk = disk
        self._journal = Journal(note={**asdict(proof), "owner": new_owner()})
        #: Whether there is a journal.
        self.is_noted = False

    def prepare(self) -> None:
        """Look at every destination, write down what will be done, and copy what must be."""
        disk, journal = self._disk, self._journal
        moves: list[Move] = []
        copies: list[tuple[Path, Path]] = []
        folders: dict[Path, None] = {}
        for source, destination in self._wanted:
            with storage_errors(destination):
                if _is_taken(disk, source, destination):
                    raise in_the_way(destination)
                if source.parent == destination.parent and disk.exists(destination):
                    between = source.with_name(f".{uuid.uuid4().hex}.moving")  # the case differs
                    moves += [Move(source, between), Move(between, destination)]
                    continue
                folders.update(dict.fromkeys(_missing(disk, destination.parent)))
                if disk.volume(source) == disk.volume(destination):
                    moves.append(Move(source, destination))
                    continue
            staging = self._staging(destination)
            part = staging / f"{len(copies)}.part"
            copies.append((source, part))
            moves.append(Move(part, destination))
        journal.folders = list(folders)
        if copies:
            self._write()  # so that a folder which nobody knows of cannot be
            for folder in journal.staging:
                with storage_errors(folder):
                    disk.make_folder(folder)
            for source, part in copies:
                with storage_errors(part):
                    disk.copy(source, part)
        journal.moves, journal.copied = moves, [source for source, _ in copies]
        if moves:
            self._write()

    def carry_out(self) -> None:
        """Move the files; what happens to them afterwards is told by `settle`."""
        for folder in self._journal.folders:
            with storage_errors(folder):
                self._disk.make_folder(folder)
        for move in self._journal.moves:
            with storage_errors(move.staged):
                if self._disk.exists(move.destination):
                    raise in_the_way(move.destination)
                self._disk.rename(move.staged, move.destination)

    def settle(self, was_committed: bool) -> None:
        """Let the files follow what the database says."""
        (forget if was_committed else take_back)(self._path, self._journal, self._disk)

    def _staging(self, destination: Path) -> Path:
        """A hidden folder on the volume of the destination."""
        top = destination.parent
        while not self._disk.exists(top):
            top = top.parent
        staging = top / _STAGING / self._path.stem
        if staging not in self._journal.staging:
            self._journal.staging.append(staging)
        return staging

    def _write(self) -> None:
        with storage_errors(self._path):
            self._disk.write(self._path, self._journal.to_json())
        self.is_noted = True


def in_the_way(destination: Path) -> LibraryChanged:
    """What is said where a destination is taken."""
    return LibraryChanged(
        f"{destination} is there already, and nothing is ever overwritten; rename or move that "
        "file, or choose another name.",
        path=str(destination),
    )


def _is_taken(disk: Disk, source: Path, destination: Path) -> bool:
    if not disk.exists(destination):
        return False
    is_same_but_for_case = (
        source.parent == destination.parent
        and source.name != destination.name
        and source.name.casefold() == destination.name.casefold()
    )
    # Where case tells names apart, both are listed.
    return not is_same_but_for_case or destination.name in disk.names(destination.parent)


def _missing(disk: Disk, folder: Path) -> Iterable[Path]:
    """The folders that have to be made for this one, top first."""
    missing = []
    while not disk.exists(folder):
        missing.append(folder)
        folder = folder.parent
    return reversed(missing)
