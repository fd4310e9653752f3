"""What is remembered, for how long, and that expiry is told only after the commit."""

from __future__ import annotations

import pytest

from lora_manager_core.adapters.undo.recorder import KEPT_ENTRIES, KEPT_S, UndoRecorder
from lora_manager_core.adapters.undo.repository import OPEN, UNDONE, UndoEntries, UndoWriter
from lora_manager_core.common.clock import utc_after, utc_now
from lora_manager_core.db.models import UndoEntry
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import LibraryChanged

_BEFORE = {"records": [["a", {"weight": 1.0}], ["b", {"weight": 2.0}]]}


def _entry(number: int, created_at: str) -> UndoEntry:
    return UndoEntry(
        id=f"{number:036}",
        kind="edit",
        title="t",
        state=OPEN,
        record_count=0,
        before={"records": []},
        created_at=created_at,
    )


def test_a_change_is_remembered_with_what_there_was(database: Database) -> None:
    with database.write() as session:
        undo_id = UndoRecorder().record(session, "edit", "Changed weight", _BEFORE)
    with database.read() as session:
        entries = UndoEntries(session)
        (summary,) = entries.latest(10)
        entry = entries.get(undo_id)
    assert (summary.id, summary.title, summary.state) == (undo_id, "Changed weight", OPEN)
    assert summary.record_count == 2
    assert entry is not None
    assert entry.before == _BEFORE


def test_old_entries_and_all_beyond_the_last_ones_go(database: Database) -> None:
    told: list[str] = []
    recorder = UndoRecorder(told.extend)
    with database.write() as session:
        session.add(_entry(0, utc_after(-KEPT_S - 60)))
        session.add_all(_entry(n, utc_after(n - 1000)) for n in range(1, KEPT_ENTRIES + 1))
    with database.write() as session:
        undo_id = recorder.record(session, "edit", "t", _BEFORE)
        assert told == []
    assert sorted(told) == [f"{0:036}", f"{1:036}"]
    with database.read() as session:
        left = UndoEntries(session).latest(1000)
    assert len(left) == KEPT_ENTRIES
    assert left[0].id == undo_id


def test_a_rollback_forgets_the_entry_and_the_expiry(database: Database) -> None:
    told: list[str] = []
    with database.write() as session:
        session.add(_entry(0, utc_after(-KEPT_S - 60)))

    def _fail() -> None:
        with database.write() as session:
            UndoRecorder(told.extend).record(session, "edit", "t", _BEFORE)
            raise LibraryChanged("Begin again.")

    with pytest.raises(LibraryChanged):
        _fail()
    with database.read() as session:
        assert len(UndoEntries(session).latest(10)) == 1
    assert told == []


def test_only_the_first_one_closes_an_entry(database: Database) -> None:
    with database.write() as session:
        undo_id = UndoRecorder().record(session, "edit", "t", _BEFORE)
    with database.write() as session:
        writer = UndoWriter(session)
        assert writer.close(undo_id, utc_now())
        assert not writer.close(undo_id, utc_now())
        assert writer.state(undo_id) == UNDONE
