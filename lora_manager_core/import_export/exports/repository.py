"""The queries of an export: rows as JSON, one after the other, whatever their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Select, Table, Text, func, select, type_coerce

from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.table import ADAPTERS
from lora_manager_core.db.models import Job, ResultImage
from lora_manager_core.db.types import JsonText
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS, TABLES, ArchivedTable

#: Rows fetched at once.
_CHUNK = 500
#: Ids listed in one statement (SQLite allows 32,766 parameters).
_LISTED = 5000
_JOBS = next(table for table in TABLES if table.model is Job)
#: Columns of the place of an adapter's files, see `PlacedRecord`.
_PLACE = ("id", "file_key", "file_path", "folder", "side_signature", "preview_path")


class PlacedRecord(NamedTuple):
    """An adapter's record as JSON, and where the last scan saw its files."""

    columns: bytes
    id: str
    file_key: str
    file_path: str
    folder: str
    side_signature: str
    preview_path: str | None


class ExportRepository:
    """What an archive holds, from one session."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def spare_memory(self) -> None:
        """Read without what makes many small reads fast; to be called before the first one.

        A pass through the whole catalogue would map all of SQLite's file into memory, for good. The
        connection is not given back to the others.
        """
        if self._session.get_bind().dialect.name == "sqlite":
            connection = self._session.connection()
            connection.detach()
            connection.exec_driver_sql("PRAGMA mmap_size = 0")
            connection.exec_driver_sql("PRAGMA cache_size = -4000")

    def unknown(self, adapter_ids: Sequence[str]) -> list[str]:
        """Those of the ids that no adapter has, sorted."""
        known: set[str] = set()
        for ids in listed(adapter_ids):
            known.update(self._session.scalars(select(ADAPTERS.c.id).where(ADAPTERS.c.id.in_(ids))))
        return sorted(set(adapter_ids) - known)

    def records(
        self, adapter_ids: Sequence[str] | None, query: AdapterQuery | None
    ) -> Iterator[PlacedRecord]:
        """The chosen adapters, every column of `RECORD_COLUMNS` in their JSON."""
        for where in self._chosen(adapter_ids, query):
            yield from self._records(where)

    def records_of(self, numbers: Sequence[int]) -> Iterator[PlacedRecord]:
        """A few adapters, by their row numbers."""
        return self._records(ADAPTERS.c.pk.in_(numbers))

    def _records(self, where: ColumnElement[bool]) -> Iterator[PlacedRecord]:
        columns = [_as_stored(ADAPTERS, name) for name in (*RECORD_COLUMNS, *_PLACE)]
        as_json, count = _AsJson(ADAPTERS, RECORD_COLUMNS), len(RECORD_COLUMNS)
        for row in self._stream(select(*columns).where(where).order_by(ADAPTERS.c.pk)):
            yield PlacedRecord(as_json(row[:count]), *row[count:])

    def rows(
        self,
        archived: ArchivedTable,
        columns: Sequence[str],
        dates: tuple[str | None, str | None] = (None, None),
    ) -> Iterator[bytes]:
        """The rows of a table as JSON objects; `dates` limit jobs and what belongs to them."""
        table = archived.table
        query = select(*(_as_stored(table, name) for name in columns))
        query = query.where(*chosen_rows(archived, dates))
        yield from map(
            _AsJson(table, columns), self._stream(query.order_by(*table.primary_key.columns))
        )

    def pictures(
        self, dates: tuple[str | None, str | None] = (None, None)
    ) -> Iterator[tuple[str, int, str]]:
        """Job, number and file of the pictures of results."""
        archived = next(table for table in TABLES if table.model is ResultImage)
        c = archived.table.c
        query = select(c.job_id, c.number, c.file_path).where(*chosen_rows(archived, dates))
        for job_id, number, path in self._stream(query.order_by(c.job_id, c.number)):
            yield str(job_id), int(number), str(path)

    def schema(self) -> str:
        """The revision of the schema."""
        connection = self._session.connection()
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())

    def _chosen(
        self, adapter_ids: Sequence[str] | None, query: AdapterQuery | None
    ) -> Iterator[ColumnElement[bool]]:
        if adapter_ids is not None:
            for ids in listed(list(dict.fromkeys(adapter_ids))):
                yield ADAPTERS.c.id.in_(ids)
        elif query is not None:
            yield ADAPTERS.c.pk.in_(Adapters(self._session).selection(query))
        else:
            yield ADAPTERS.c.pk.is_not(None)

    def _stream(self, query: Select[Any]) -> Iterator[Sequence[Any]]:
        """The rows as they come: PostgreSQL's driver would fetch them all at once."""
        options = {"stream_results": True, "yield_per": _CHUNK}
        with self._session.execute(query, execution_options=options) as rows:
            yield from rows


def chosen_rows(
    archived: ArchivedTable, dates: tuple[str | None, str | None]
) -> list[ColumnElement[bool]]:
    """Which rows of a table are archived; `dates` limit jobs and what belongs to them."""
    if archived.part != _JOBS.part:
        return [] if archived.where is None else [archived.where]
    ended = func.coalesce(Job.finished_at, Job.created_at)
    start, end = dates
    wanted = [] if _JOBS.where is None else [_JOBS.where]
    wanted += [] if start is None else [ended >= start]
    wanted += [] if end is None else [ended < end]
    if archived is _JOBS:
        return wanted
    return [archived.table.c.job_id.in_(select(Job.id).where(*wanted))]


def _as_stored(table: Table, name: str) -> ColumnElement[Any]:
    """The column, JSON as the text it is."""
    column: ColumnElement[Any] = table.c[name]
    return type_coerce(column, Text) if isinstance(column.type, JsonText) else column


class _AsJson:
    """Makes JSON objects of rows with these columns."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._columns = columns
        self._json = [
            i for i, name in enumerate(columns) if isinstance(table.c[name].type, JsonText)
        ]

    def __call__(self, row: Iterable[Any]) -> bytes:
        values = list(row)
        for index in self._json:
            if values[index] is not None:
                values[index] = orjson.Fragment(values[index])
        return orjson.dumps(dict(zip(self._columns, values, strict=True)))


def listed(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids in lists that fit into a statement."""
    for start in range(0, len(ids), _LISTED):
        yield ids[start : start + _LISTED]
