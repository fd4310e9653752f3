"""Files follow what was committed: killed at any step, across volumes, and where case is none."""

from __future__ import annotations

import uuid
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from lora_manager_core.adapters.undo.recorder import UndoRecorder
from lora_manager_core.adapters.undo.repository import OPEN, UndoEntries
from lora_manager_core.common.file_journal import Disk
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import LibraryChanged, StorageFailed
from lora_manager_core.library.files.acts import FileActs, FileMove, Proof
from tests.fakes.stopping_disk import CaseBlindDisk, Killed, StoppingDisk


class Place:
    """A folder with two files, and what is to become of them."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "library"
        self.library.mkdir(parents=True)
        self.apart = folder / "apart"
        self.apart.mkdir()
        self.journals = folder / "journals"
        self.old = {"library/a.safetensors": b"model", "library/a.png": b"picture"}
        for name, content in self.old.items():
            (folder / name).write_bytes(content)
        self._folder = folder

    def moves(self, target: Path) -> list[FileMove]:
        """Both files to a new folder, under new names."""
        return [
            (self.library / "a.safetensors", target / "new" / "b.safetensors"),
            (self.library / "a.png", target / "new" / "b.png"),
        ]

    def tree(self) -> dict[str, bytes]:
        """All files, those of the journal included."""
        return {
            path.relative_to(self._folder).as_posix(): path.read_bytes()
            for path in self._folder.rglob("*")
            if path.is_file()
        }


def _change(
    database: Database, place: Place, disk: Disk, moves: list[FileMove], fail: bool = False
) -> str:
    """Move files in a unit of work; gives the id of the entry that it makes."""
    undo_id = str(uuid.uuid4())
    acts = FileActs(database, place.journals, disk)
    with acts.act(moves, Proof.of_entry(undo_id, OPEN)) as carry_out, database.write() as session:
        UndoRecorder().record(session, "move", "t", {"records": []}, undo_id)
        carry_out()
        if fail:
            raise LibraryChanged("Begin again.")
    return undo_id


def _entries(database: Database) -> int:
    with database.read() as session:
        return len(UndoEntries(session).latest(1000))


@pytest.mark.parametrize("target", ["library", "apart"])
def test_killed_at_any_step_files_are_old_or_new_as_the_database_says(
    database: Database, tmp_path: Path, target: str
) -> None:
    outcomes = set()
    for steps in count():
        place = Place(tmp_path / str(steps))
        disk = StoppingDisk(steps, place.apart)
        entries = _entries(database)
        was_killed = True
        with suppress(Killed):
            _change(database, place, disk, place.moves(tmp_path / str(steps) / target))
            was_killed = False
        FileActs(database, place.journals, is_gone=lambda _owner: True).recover()

        was_committed = _entries(database) > entries
        outcomes.add(was_committed)
        new = {f"{target}/new/b.safetensors": b"model", f"{target}/new/b.png": b"picture"}
        assert place.tree() == (new if was_committed else place.old), steps
        assert (place.apart / "new").exists() == (was_committed and target == "apart")
        if not was_killed:
            break
    assert outcomes == {False, True}


@pytest.mark.parametrize("target", ["library", "apart"])
def test_a_unit_that_fails_leaves_the_files(
    database: Database, tmp_path: Path, target: str
) -> None:
    place = Place(tmp_path / "place")
    with pytest.raises(LibraryChanged):
        _change(
            database,
            place,
            StoppingDisk(None, place.apart),
            place.moves(tmp_path / "place" / target),
            fail=True,
        )
    assert place.tree() == place.old


def test_a_file_in_use_is_named_and_all_stay(database: Database, tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    disk = StoppingDisk(None)
    disk.stop_after(3, PermissionError(13, "in use"))
    with pytest.raises(StorageFailed, match="in use by another program"):
        _change(database, place, disk, place.moves(place.library))
    assert place.tree() == place.old
    assert _entries(database) == 0


def test_nothing_is_overwritten(database: Database, tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    (place.library / "new").mkdir()
    (place.library / "new" / "b.png").write_bytes(b"another")
    with pytest.raises(LibraryChanged, match="is ever overwritten"):
        _change(database, place, Disk(), place.moves(place.library))
    assert place.tree() == {**place.old, "library/new/b.png": b"another"}


@pytest.mark.parametrize("disk", [Disk(), CaseBlindDisk()], ids=["case counts", "case is nothing"])
def test_the_case_of_a_name_can_be_changed(database: Database, tmp_path: Path, disk: Disk) -> None:
    place = Place(tmp_path / "place")
    moves = [(place.library / "a.png", place.library / "A.png")]
    _change(database, place, disk, moves)
    assert sorted(place.tree()) == ["library/A.png", "library/a.safetensors"]


def test_a_living_process_keeps_its_files(database: Database, tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    with pytest.raises(Killed):
        _change(database, place, StoppingDisk(3), place.moves(place.library))
    before = place.tree()
    FileActs(database, place.journals).recover()
    assert place.tree() == before
