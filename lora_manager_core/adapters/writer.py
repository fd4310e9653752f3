"""Changes of the catalogue, with tags, full text and revision in step. Nothing here commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

import orjson
from sqlalchemy import delete, select, update

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.table import ADAPTERS, JSON_COLUMNS
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.words import distinct_words, word_key
from lora_manager_core.db import counters
from lora_manager_core.db.models import Adapter, AdapterTag, ExcludedFile
from lora_manager_core.db.unit_of_work import WriteSession

_INSERTED = tuple(c.name for c in ADAPTERS.columns if c.name != "pk")
_in_order = itemgetter(*_INSERTED)
_JSON_PLACES = tuple(place for place, name in enumerate(_INSERTED) if name in JSON_COLUMNS)
#: The fields that people search by.
SEARCHED = (
    "name",
    "version",
    "author_username",
    "description",
    "notes",
    "tags",
    "trained_words",
    "triggers",
)
#: Rows per statement where ids are listed in it (SQLite allows 32,766 parameters).
_CHUNK = 5000


def search_text(record: Adapter | Mapping[str, Any]) -> str:
    """What the full-text index sees of a record: everything people search by, without case."""
    get = record.get if isinstance(record, Mapping) else lambda name: getattr(record, name)
    parts: list[str] = []
    for name in SEARCHED:
        value = get(name) or ()
        parts.extend([value] if isinstance(value, str) else value)
    return "\n".join(part for part in parts if part).casefold()


class _Told(Protocol):
    @property
    def origin(self) -> str: ...

    @property
    def edited_fields(self) -> Sequence[str]: ...


def is_untouched(record: _Told) -> bool:
    """Whether a scan made the record and nobody has said anything of it since."""
    return record.origin == "scan" and not record.edited_fields


class AdapterWriter(Adapters):
    """The catalogue for writing; keeps tags, full text and revision in step with the records."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._session: WriteSession = session

    def add(self, adapter: Adapter) -> None:
        """Add a record."""
        adapter.search_text = search_text(adapter)
        self._session.add(adapter)
        self._session.flush()
        self._index_new_rows()
        self._write_tags({adapter.pk: adapter.tags})
        self._bump()

    def save(self, adapter: Adapter, retag: bool = True) -> None:
        """Store what was changed on a record."""
        self.save_many([adapter], retag)

    def save_many(self, adapters: Sequence[Adapter], retag: bool = True) -> None:
        """Store what was changed on many records."""
        now = utc_now()
        for adapter in adapters:
            adapter.updated_at = now
            adapter.search_text = search_text(adapter)
        self._session.flush()
        if retag:
            self._untag([adapter.pk for adapter in adapters])
            self._write_tags({adapter.pk: adapter.tags for adapter in adapters})
        self._bump()

    def set_active(self, adapter_ids: Sequence[str], active: bool) -> None:
        """Put records into the active set, or out of it."""
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = adapter_ids[start : start + _CHUNK]
            self._session.execute(
                update(Adapter)
                .where(Adapter.id.in_(chunk))
                .values(active=active, updated_at=utc_now())
                .execution_options(synchronize_session=False)
            )
        self._bump()

    def remove(self, adapters: Sequence[Adapter], exclude: bool = True) -> None:
        """Delete records; with `exclude` their files are remembered, and not listed again."""
        if exclude:
            now = utc_now()
            excluded = {a.file_key: (a.file_key, a.file_path, a.name, now) for a in adapters}
            self.include_many(list(excluded))
            columns = ("file_key", "file_path", "name", "excluded_at")
            self._insert_many(ExcludedFile.__tablename__, columns, list(excluded.values()))
        for adapter in adapters:
            self._session.delete(adapter)
        self._session.flush()
        self._bump()

    def include_many(self, file_keys: Sequence[str]) -> None:
        """Take files off the excluded list, those that are on it."""
        for start in range(0, len(file_keys), _CHUNK):
            chunk = file_keys[start : start + _CHUNK]
            self._session.execute(
                delete(ExcludedFile)
                .where(ExcludedFile.file_key.in_(chunk))
                .execution_options(synchronize_session=False)
            )

    def include(self, file_key: str) -> bool:
        """Take a file off the excluded list; False if it was not on it."""
        excluded = self._session.get(ExcludedFile, file_key)
        if excluded is None:
            return False
        self._session.delete(excluded)
        self._session.flush()
        return True

    def insert_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add many records that a scan found, as plain rows."""
        if not rows:
            return
        defaults = default_row()
        self._insert_many(ADAPTERS.name, _INSERTED, [_values({**defaults, **r}) for r in rows])
        self._index_new_rows()
        tags = {row["id"]: row["tags"] for row in rows if row["tags"]}
        self._write_tags({pk: tags[i] for pk, i in self._row_numbers(list(tags))})
        self._bump()

    def update_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Change many records, each given as `pk` and the columns to set."""
        if not rows:
            return
        self._session.execute(update(Adapter), rows)
        retagged = {row["pk"]: row["tags"] for row in rows if "tags" in row}
        self._untag(list(retagged))
        self._write_tags(retagged)
        self._bump()

    def _index_new_rows(self) -> None:
        """Bring added rows into the full-text index; changes and deletions have triggers."""
        if self._sqlite:
            self._session.connection().exec_driver_sql(
                "INSERT INTO adapters_fts (rowid, search_text) SELECT pk, search_text FROM adapters"
                " WHERE pk > (SELECT coalesce(max(id), 0) FROM adapters_fts_docsize)"
            )

    def _row_numbers(self, adapter_ids: Sequence[str]) -> Iterable[tuple[int, str]]:
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = adapter_ids[start : start + _CHUNK]
            query = select(Adapter.pk, Adapter.id).where(Adapter.id.in_(chunk))
            yield from self._session.execute(query)

    def _untag(self, numbers: Sequence[int]) -> None:
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            self._session.execute(delete(AdapterTag).where(AdapterTag.adapter_pk.in_(chunk)))

    def _write_tags(self, tags: Mapping[int, Iterable[str]]) -> None:
        rows = [
            (word_key(tag), pk, tag[:200])
            for pk, own in tags.items()
            for tag in distinct_words(own)
        ]
        self._insert_many(AdapterTag.__tablename__, ("tag_key", "adapter_pk", "tag"), rows)

    def _insert_many(
        self, table_name: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """Plain SQL for the same reason as `_RECORDS_SQL`: it is a third of a large scan's time."""
        if rows:
            places = ", ".join(["?" if self._sqlite else "%s"] * len(columns))
            self._session.connection().exec_driver_sql(
                f"INSERT INTO {table_name} ({', '.join(columns)}) VALUES ({places})", list(rows)
            )

    def _bump(self) -> None:
        counters.raise_counter(self._session, counters.ADAPTERS)


def _values(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row as the driver takes it, in the order of `_INSERTED`."""
    values = list(_in_order(row))
    for place in _JSON_PLACES:
        if values[place] is not None:
            values[place] = orjson.dumps(values[place]).decode()
    return tuple(values)


def default_row() -> dict[str, Any]:
    """A row in which every column but the keys has its value for "nothing known"."""
    row: dict[str, Any] = {}
    for column_ in ADAPTERS.columns:
        default: Any = column_.default
        if column_.name in ("pk", "id"):
            continue
        if default is None:
            row[column_.name] = None
        elif default.is_callable:
            row[column_.name] = default.arg(None)
        else:
            row[column_.name] = default.arg
    return row
