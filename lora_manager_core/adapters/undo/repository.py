"""The queries on what can be taken back. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update

from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import Adapter, UndoEntry
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession

OPEN = "open"
UNDONE = "undone"
EXPIRED = "expired"

#: Rows per statement where values are listed in it (SQLite allows 32,766 parameters).
_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class UndoSummary:
    """One entry without what there was before, which may be large."""

    id: str
    kind: str
    title: str
    state: str
    record_count: int
    created_at: str
    undone_at: str | None


class UndoEntries:
    """The entries for reading."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def latest(self, limit: int) -> list[UndoSummary]:
        """The newest entries, the last one first."""
        query = select(
            UndoEntry.id,
            UndoEntry.kind,
            UndoEntry.title,
            UndoEntry.state,
            UndoEntry.record_count,
            UndoEntry.created_at,
            UndoEntry.undone_at,
        ).order_by(UndoEntry.created_at.desc(), UndoEntry.id)
        rows = self._session.execute(query.limit(limit))
        return [UndoSummary(**row) for row in rows.mappings()]

    def get(self, undo_id: str) -> UndoEntry | None:
        """The entry of that id, with all there was before."""
        return self._session.get(UndoEntry, undo_id)

    def state(self, undo_id: str) -> str | None:
        """The state of an entry; None if there is none of that id."""
        return self._session.scalar(select(UndoEntry.state).where(UndoEntry.id == undo_id))


class UndoWriter(UndoEntries):
    """The entries for writing."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._session: WriteSession = session

    def add(self, entry: UndoEntry) -> None:
        """Add an entry."""
        self._session.add(entry)
        self._session.flush()

    def close(self, undo_id: str, undone_at: str) -> bool:
        """Say of an open entry that it was taken back; False if it is not open (any more)."""
        closed = self._session.execute(
            update(UndoEntry)
            .where(UndoEntry.id == undo_id, UndoEntry.state == OPEN)
            .values(state=UNDONE, undone_at=undone_at, before={})
            .returning(UndoEntry.id)
            .execution_options(synchronize_session=False)
        )
        return closed.first() is not None

    def expire(self, undo_ids: Sequence[str]) -> None:
        """Say of open entries that they cannot be taken back any more."""
        self._session.execute(
            update(UndoEntry)
            .where(UndoEntry.id.in_(undo_ids), UndoEntry.state == OPEN)
            .values(state=EXPIRED, before={})
            .execution_options(synchronize_session=False)
        )

    def remove_old(self, before: str, kept: int) -> list[str]:
        """Remove entries made before that time, and all but the newest; gives their ids."""
        newest = select(UndoEntry.id).order_by(UndoEntry.created_at.desc()).limit(kept)
        query = select(UndoEntry.id).where(
            (UndoEntry.created_at < before) | UndoEntry.id.not_in(newest)
        )
        old = list(self._session.scalars(query))
        if old:
            self._session.execute(
                delete(UndoEntry)
                .where(UndoEntry.id.in_(old))
                .execution_options(synchronize_session=False)
            )
        return old


class RestoringWriter(AdapterWriter):
    """The catalogue as deleted records meet it when they come back."""

    def by_file(self, file_keys: Sequence[str]) -> dict[str, list[Adapter]]:
        """The records of these files, by file."""
        return self._by(Adapter.file_key, file_keys)

    def by_name(self, names: Sequence[str]) -> dict[str, list[Adapter]]:
        """The records of these names, all versions, by name."""
        return self._by(Adapter.name, names)

    def names_like(self, name: str) -> set[str]:
        """The names that begin so."""
        query = select(Adapter.name).where(Adapter.name.startswith(name, autoescape=True))
        return set(self._session.scalars(query))

    def _by(self, column: Any, values: Sequence[str]) -> dict[str, list[Adapter]]:
        found: dict[str, list[Adapter]] = {}
        for start in range(0, len(values), _CHUNK):
            query = select(Adapter).where(column.in_(values[start : start + _CHUNK]))
            for adapter in self._session.scalars(query):
                found.setdefault(getattr(adapter, column.key), []).append(adapter)
        return found
