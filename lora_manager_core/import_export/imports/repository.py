"""The queries of an import on the catalogue: what is here, in bulk, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.table import ADAPTERS
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import (
    Adapter,
    ExcludedFile,
    FeedbackEvent,
    RunAdapter,
    TextVectors,
    WeightSketch,
)
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS

#: Rows per statement where keys are listed in it (SQLite allows 32,766 parameters).
_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class KnownRecord:
    """What matching needs to know of a record that is here."""

    pk: int
    id: str
    name: str
    version_key: str
    file_path: str
    file_key: str
    file_size: int
    file_mtime_ns: int
    sha256: str | None
    updated_at: str
    origin: str
    edited_fields: tuple[str, ...]
    active: bool
    ordinal: int | None


class ImportRecords:
    """The catalogue as an import reads it."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def revision(self) -> int:
        """A number that rises with every change of the catalogue."""
        return Adapters(self._session).revision()

    def known(self) -> list[KnownRecord]:
        """Every record."""
        c = ADAPTERS.c
        query = select(
            c.pk,
            c.id,
            c.name,
            c.version_key,
            c.file_path,
            c.file_key,
            c.file_size,
            c.file_mtime_ns,
            c.primary_file_sha256,
            c.updated_at,
            c.origin,
            c.edited_fields,
            c.active,
            c.ordinal,
        ).order_by(c.pk)
        rows = ([*row[:11], tuple(row[11]), *row[12:]] for row in self._session.execute(query))
        return [KnownRecord(*row) for row in rows]

    def columns(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The archived columns of records, by row number."""
        query = select(ADAPTERS.c.pk, *(ADAPTERS.c[name] for name in RECORD_COLUMNS))
        found: dict[int, dict[str, Any]] = {}
        for chunk in chunks(numbers):
            for row in self._session.execute(query.where(ADAPTERS.c.pk.in_(chunk))):
                found[row[0]] = dict(zip(RECORD_COLUMNS, row[1:], strict=True))
        return found


class ImportWriter(AdapterWriter):
    """The catalogue as an import changes it."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writing = session

    def clear(self) -> None:
        """Remove every record."""
        self._writing.execute(delete(Adapter).execution_options(synchronize_session=False))
        self._bump()

    def free_names(self, numbers: Sequence[int]) -> None:
        """Give records names that nobody has, so that theirs can be given to others first."""
        rows = [{"number": pk} for pk in numbers]
        if rows:
            c = ADAPTERS.c
            statement = update(ADAPTERS).where(c.pk == bindparam("number")).values(name=c.id)
            self._writing.connection().execute(statement, rows)

    def change_ids(self, ids: Mapping[str, str]) -> None:
        """Give records other ids, old → new; their runs and feedback follow.

        Their vectors and sketches go: those are made anew.
        """
        if not ids:
            return
        runs = RunAdapter.__table__.c
        used = [
            {"run": row.run_id, "place": row.position, "new": ids[row.adapter_id]}
            for chunk in chunks(list(ids))
            for row in self._writing.execute(
                select(runs.run_id, runs.position, runs.adapter_id).where(
                    runs.adapter_id.in_(chunk)
                )
            )
        ]
        events = FeedbackEvent.__table__.c
        told = [
            {"event": row.id, "new": ids[row.adapter_id]}
            for chunk in chunks(list(ids))
            for row in self._writing.execute(
                select(events.id, events.adapter_id).where(events.adapter_id.in_(chunk))
            )
        ]
        connection = self._writing.connection()
        for chunk in chunks(list(ids)):
            for made in (TextVectors, WeightSketch):
                connection.execute(delete(made).where(made.adapter_id.in_(chunk)))
            connection.execute(
                update(RunAdapter).where(runs.adapter_id.in_(chunk)).values(adapter_id=None)
            )
        connection.execute(
            update(ADAPTERS).where(ADAPTERS.c.id == bindparam("old")).values(id=bindparam("new")),
            [{"old": old, "new": new} for old, new in ids.items()],
        )
        if used:
            at = (runs.run_id == bindparam("run")) & (runs.position == bindparam("place"))
            connection.execute(
                update(RunAdapter).where(at).values(adapter_id=bindparam("new")), used
            )

        if told:
            connection.execute(
                update(FeedbackEvent)
                .where(events.id == bindparam("event"))
                .values(adapter_id=bindparam("new")),
                told,
            )

    def include_all(self, file_keys: Sequence[str]) -> None:
        """Take files off the excluded list."""
        for chunk in chunks(file_keys):
            self._writing.execute(
                delete(ExcludedFile)
                .where(ExcludedFile.file_key.in_(chunk))
                .execution_options(synchronize_session=False)
            )


def chunks(keys: Iterable[Any], size: int = _CHUNK) -> Iterator[list[Any]]:
    """The keys in portions that one statement can list."""
    listed = list(keys)
    for start in range(0, len(listed), size):
        yield listed[start : start + size]
