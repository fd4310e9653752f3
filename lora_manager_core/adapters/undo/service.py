"""What a person does with changes: look at the latest ones, and take them back."""

from __future__ import annotations

from typing import Any

from lora_manager_core.adapters.undo.kinds import UndoKind
from lora_manager_core.adapters.undo.repository import (
    EXPIRED,
    OPEN,
    UNDONE,
    UndoEntries,
    UndoSummary,
    UndoWriter,
)
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import UndoConflict, UndoNotFound

_WHY_NOT = {
    OPEN: None,
    UNDONE: "It was taken back already.",
    EXPIRED: "What it would need is gone: the bin was emptied.",
}


class UndoService:
    """The changes of this installation; who makes a kind of change registers how it goes back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kinds: dict[str, UndoKind] = {}

    def register(self, kind: str, undo: UndoKind) -> None:
        """Say how entries of a kind are taken back."""
        self._kinds[kind] = undo

    def latest(self, limit: int) -> list[dict[str, Any]]:
        """The newest changes first, with whether they can still be taken back."""
        with self._database.read() as session:
            return [_shown(entry) for entry in UndoEntries(session).latest(limit)]

    def undo(self, undo_id: str, force: bool = False) -> dict[str, Any]:
        """Take a change back as a whole.

        Raises:
            UndoNotFound: no such entry.
            UndoConflict: it was taken back already or cannot be any more, or records have changed
                since (named in `conflicts`), and it was not to be forced.
            StorageFailed: a file cannot be moved.
        """
        with self._database.read() as session:
            entry = UndoEntries(session).get(undo_id)
        if entry is None:
            raise UndoNotFound(f"There is no change {undo_id} to take back; see the list of them.")
        _require_open(entry.state)
        kind = self._kinds[entry.kind]
        with kind.taking_back(entry) as take_back, self._database.write() as session:
            entries = UndoWriter(session)
            if not entries.close(undo_id, utc_now()):
                _require_open(entries.state(undo_id) or EXPIRED)
            restored = list(take_back(session, force))
        return {"undo_id": undo_id, "kind": entry.kind, "restored": len(restored), "ids": restored}


def _require_open(state: str) -> None:
    problem = _WHY_NOT[state]
    if problem is not None:
        raise UndoConflict(problem)


def _shown(entry: UndoSummary) -> dict[str, Any]:
    return {
        "undo_id": entry.id,
        "kind": entry.kind,
        "title": entry.title,
        "record_count": entry.record_count,
        "created_at": entry.created_at,
        "undone_at": entry.undone_at,
        "possible": entry.state == OPEN,
        "problem": _WHY_NOT[entry.state],
    }
