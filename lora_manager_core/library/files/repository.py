"""The queries of moved and binned files. Nothing here commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import Adapter, BinnedFile, UndoEntry

#: Rows per statement where values are listed in it (SQLite allows 32,766 parameters).
_CHUNK = 5000


class FileRecords(Adapters):
    """Records by their files, and what is in the bin."""

    def entry_state(self, undo_id: str) -> str | None:
        """The state of an undo entry; None if there is none."""
        return self._session.scalar(select(UndoEntry.state).where(UndoEntry.id == undo_id))

    def file_path(self, adapter_id: str) -> str | None:
        """The file of a record; None if there is no such record."""
        return self._session.scalar(select(Adapter.file_path).where(Adapter.id == adapter_id))

    def of_files(self, file_keys: Sequence[str]) -> list[Adapter]:
        """All records of these files."""
        found: list[Adapter] = []
        for start in range(0, len(file_keys), _CHUNK):
            chunk = file_keys[start : start + _CHUNK]
            found.extend(
                self._session.scalars(
                    select(Adapter).where(Adapter.file_key.in_(chunk)).order_by(Adapter.pk)
                )
            )
        return found

    def binned(self, undo_id: str) -> list[BinnedFile]:
        """The files of one deletion."""
        query = select(BinnedFile).where(BinnedFile.undo_id == undo_id)
        return list(self._session.scalars(query.order_by(BinnedFile.number)))

    def bin_ids(self) -> set[str]:
        """The undo entries that have files in the bin."""
        return set(self._session.scalars(select(BinnedFile.undo_id).distinct()))

    def bin_contents(self) -> list[dict[str, Any]]:
        """What is in the bin, by deletion, the latest first; sizes in bytes."""
        query = (
            select(
                UndoEntry.id.label("undo_id"),
                UndoEntry.title,
                UndoEntry.created_at.label("deleted_at"),
                func.count().label("files"),
                func.sum(BinnedFile.file_size).label("size_bytes"),
            )
            .join(BinnedFile, BinnedFile.undo_id == UndoEntry.id)
            .group_by(UndoEntry.id, UndoEntry.title, UndoEntry.created_at)
            .order_by(UndoEntry.created_at.desc())
        )
        return [
            {**row, "size_bytes": int(row["size_bytes"])}
            for row in self._session.execute(query).mappings()
        ]


class FileWriter(AdapterWriter):
    """The catalogue, with the files of its records and the bin, for writing."""

    def put_in_bin(self, rows: Sequence[dict[str, Any]]) -> None:
        """Note files that go to the bin."""
        if rows:
            self._session.execute(insert(BinnedFile), rows)

    def take_from_bin(self, undo_ids: Iterable[str]) -> None:
        """Note that these deletions have no files in the bin any more."""
        self._session.execute(
            delete(BinnedFile)
            .where(BinnedFile.undo_id.in_(list(undo_ids)))
            .execution_options(synchronize_session=False)
        )
