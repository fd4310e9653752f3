"""Queries on the catalogue. Lists select columns, not entities; changes are in `writer`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Boolean, Select, func, select

from lora_manager_core.adapters.filters import Filters
from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.schemas import AdapterRecord
from lora_manager_core.adapters.table import ADAPTERS, JSON_COLUMNS, SORTED_EACH_TIME, order_of
from lora_manager_core.backends.base import PromptName
from lora_manager_core.db import counters
from lora_manager_core.db.models import Adapter, AdapterTag, ExcludedFile
from lora_manager_core.db.unit_of_work import ReadSession

#: The fields of a record that are columns as they stand.
RECORD_COLUMNS = tuple(name for name in AdapterRecord.model_fields if name != "preview_url")

_JSON_INDEXES = tuple(i for i, name in enumerate(RECORD_COLUMNS) if name in JSON_COLUMNS)
_BOOLEAN_INDEXES = tuple(
    i for i, name in enumerate(RECORD_COLUMNS) if isinstance(ADAPTERS.c[name].type, Boolean)
)
# Plain SQL on purpose: for sixty columns SQLAlchemy needs longer to build the statement and its
# cache key than SQLite to run it. The columns are our own names, the row numbers are integers.
_RECORDS_SQL = (
    f"SELECT pk, {', '.join(RECORD_COLUMNS)}, preview_path, side_signature, file_mtime_ns "
    "FROM adapters WHERE pk IN "
)
#: Rows per statement where ids are listed in it (SQLite allows 32,766 parameters).
_CHUNK = 5000
#: What a row costs on SQLite that an index of the filter gives and that is sorted then, next to one
#: that is looked at on the way along an order (measured at 100,000 records).
_GATHERED = 0.6


class Adapters:
    """The catalogue for reading."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session
        self._sqlite = session.get_bind().dialect.name == "sqlite"
        self._filters = Filters(session, self._sqlite)

    def revision(self) -> int:
        """A number that rises with every change of the catalogue."""
        return counters.read_counter(self._session, counters.ADAPTERS)

    def get(self, adapter_id: str) -> Adapter | None:
        """The adapter with that id."""
        return self._session.scalars(select(Adapter).where(Adapter.id == adapter_id)).first()

    def get_many(self, adapter_ids: Sequence[str]) -> list[Adapter]:
        """The adapters with those ids that exist, in the order asked for."""
        found: dict[str, Adapter] = {}
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = adapter_ids[start : start + _CHUNK]
            for adapter in self._session.scalars(select(Adapter).where(Adapter.id.in_(chunk))):
                found[adapter.id] = adapter
        return [found[i] for i in dict.fromkeys(adapter_ids) if i in found]

    def find_by_name(self, name: str, version: str | None) -> Adapter | None:
        """The adapter with that name and version."""
        query = select(Adapter).where(Adapter.name == name, Adapter.version_key == (version or ""))
        return self._session.scalars(query).first()

    def find_by_file(self, file_key: str) -> Adapter | None:
        """The first adapter of that file."""
        query = select(Adapter).where(Adapter.file_key == file_key).order_by(Adapter.pk).limit(1)
        return self._session.scalars(query).first()

    def list_active(self) -> list[Adapter]:
        """The active set in its order: ordinal, nulls last, then name without case."""
        query = (
            select(Adapter)
            .where(Adapter.active.is_(True))
            .order_by(Adapter.ordinal.is_(None), Adapter.ordinal, Adapter.name_key, Adapter.pk)
        )
        return list(self._session.scalars(query))

    def names_in_prompts(self, names: Iterable[str]) -> dict[str, tuple[str, PromptName]]:
        """Record name → model file and what resolves to it, for names that are records'.

        Of several versions of one name an active one counts.
        """
        query = (
            select(
                Adapter.name, Adapter.file_path, Adapter.prompt_name, Adapter.prompt_name_problem
            )
            .where(Adapter.name.in_(list(names)))
            .order_by(Adapter.active, Adapter.pk.desc())
        )
        return {
            name: (path, PromptName(prompt_name, problem))
            for name, path, prompt_name, problem in self._session.execute(query)
        }

    def find_in_prompts(self, names: Iterable[str]) -> dict[str, Adapter]:
        """Name in a prompt → its record: by record name, else by what resolves to its file.

        Of several records an active one counts.
        """
        wanted = list(names)
        found: dict[str, Adapter] = {}
        for column_ in (Adapter.prompt_name, Adapter.name):  # the last word is the latter's
            query = (
                select(Adapter)
                .where(column_.in_(wanted))
                .order_by(Adapter.active, Adapter.pk.desc())
            )
            found.update({getattr(a, column_.key): a for a in self._session.scalars(query)})
        return found

    def file_of_prompt_name(self, prompt_name: str) -> str | None:
        """The model file that a name in a prompt stands for: by what resolves, then by record."""
        for column_ in (Adapter.prompt_name, Adapter.name):
            query = (
                select(Adapter.file_path)
                .where(column_ == prompt_name, Adapter.file_state == "present")
                .order_by(Adapter.active.desc(), Adapter.pk)
                .limit(1)
            )
            path = self._session.scalar(query)
            if path is not None:
                return path
        return None

    def records(self, query: AdapterQuery, filtered: int, total: int) -> list[dict[str, Any]]:
        """One page of records, ready for orjson, of `filtered` that the query leaves of `total`."""
        start = (query.page - 1) * query.per_page
        size = min(query.per_page, filtered - start)
        if size <= 0:
            return []
        # The last pages are near the other end.
        after = filtered - start - size
        backwards = after < start
        skipped = after if backwards else start
        walked = (skipped + size) * total / filtered
        walking = query.sort not in SORTED_EACH_TIME and walked < filtered * _GATHERED
        rows = (
            select(ADAPTERS.c.pk)
            .where(*self._filters.clauses(query, walking))
            .order_by(*order_of(query, backwards))
            .limit(size)
            .offset(skipped)
        )
        numbers = list(self._session.connection().scalars(rows))
        return self.records_of(numbers[::-1] if backwards else numbers)

    def record(self, adapter_id: str) -> dict[str, Any] | None:
        """One record, ready for orjson."""
        numbers = select(ADAPTERS.c.pk).where(ADAPTERS.c.id == adapter_id)
        records = self.records_of(list(self._session.scalars(numbers)))
        return records[0] if records else None

    def records_of(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """The records of these rows (`pk`) that exist, in this order, ready for orjson."""
        if not numbers:
            return []
        listed = ",".join(map(str, numbers))
        # The driver's own cursor for the reason told above: sixty columns are sixty of everything.
        cursor = self._session.connection().connection.cursor()
        try:
            cursor.execute(f"{_RECORDS_SQL}({listed})")
            found = {row[0]: _record_from_row(row[1:]) for row in cursor.fetchall()}
        finally:
            cursor.close()
        return [found[number] for number in numbers if number in found]

    def selection(self, query: AdapterQuery) -> Select[Any]:
        """The statement for the row numbers (`pk`) of all that the query's filters leave."""
        return select(ADAPTERS.c.pk).where(*self._filters.clauses(query))

    def count(self, query: AdapterQuery) -> int:
        """How many records the query's filters leave."""
        counted = select(func.count()).select_from(ADAPTERS).where(*self._filters.clauses(query))
        return int(self._session.scalar(counted) or 0)

    def tags(self) -> list[str]:
        """All tags in use, one spelling each, sorted without case."""
        query = select(func.min(AdapterTag.tag)).group_by(AdapterTag.tag_key)
        return list(self._session.scalars(query.order_by(AdapterTag.tag_key)))

    def excluded(self) -> list[ExcludedFile]:
        """Files taken out of the catalogue, newest first."""
        return list(
            self._session.scalars(select(ExcludedFile).order_by(ExcludedFile.excluded_at.desc()))
        )


def _record_from_row(row: Sequence[Any]) -> dict[str, Any]:
    *values, preview_path, side_signature, mtime_ns = row
    for index in _JSON_INDEXES:
        if values[index] is not None:
            values[index] = orjson.Fragment(values[index])
    for index in _BOOLEAN_INDEXES:
        values[index] = bool(values[index])
    record = dict(zip(RECORD_COLUMNS, values, strict=True))
    record["preview_url"] = None
    if preview_path:  # the address changes with whatever lies beside the model
        version = zlib.crc32(f"{preview_path}|{side_signature}|{mtime_ns}".encode())
        record["preview_url"] = f"/adapters/{record['id']}/preview?v={version:08x}"
    return record
