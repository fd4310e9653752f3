"""All queries on the catalogue. Lists select columns, not entities; nothing here commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from typing import cast as cast_type

import orjson
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Integer,
    Select,
    Table,
    and_,
    cast,
    column,
    delete,
    func,
    literal,
    or_,
    select,
    table,
    update,
)

from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.schemas import AdapterRecord
from lora_manager_core.backends.base import PromptName
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.words import distinct_words
from lora_manager_core.db.models import Adapter, AdapterTag, Counter, ExcludedFile
from lora_manager_core.db.types import JsonText
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession

#: The fields of a record that are columns as they stand.
RECORD_COLUMNS = tuple(name for name in AdapterRecord.model_fields if name != "preview_url")

_ADAPTERS = cast_type(Table, Adapter.__table__)
_JSON = frozenset(c.name for c in _ADAPTERS.columns if isinstance(c.type, JsonText))
_JSON_INDEXES = tuple(i for i, name in enumerate(RECORD_COLUMNS) if name in _JSON)
_BOOLEAN_INDEXES = tuple(
    i for i, name in enumerate(RECORD_COLUMNS) if isinstance(_ADAPTERS.c[name].type, Boolean)
)
_INSERTED = tuple(c.name for c in _ADAPTERS.columns if c.name != "pk")
# Plain SQL on purpose: for sixty columns SQLAlchemy needs longer to build the statement and its
# cache key than SQLite to run it. The columns are our own names, the row numbers are integers.
_RECORDS_SQL = f"SELECT pk, {', '.join(RECORD_COLUMNS)}, preview_path FROM adapters WHERE pk IN "
_FULL_TEXT = table("adapters_fts", column("rowid"), column("adapters_fts"))
#: Shortest word the trigram index can find.
_TRIGRAM = 3
#: Rows per statement where ids are listed in it (SQLite allows 32,766 parameters).
_CHUNK = 5000
#: A prime above any row number, for the shuffled order.
_SHUFFLE_PRIME = 2_147_483_647


def search_text(record: Adapter | Mapping[str, Any]) -> str:
    """What the full-text index sees of a record: everything people search by, without case."""
    get = record.get if isinstance(record, Mapping) else lambda name: getattr(record, name)
    parts: list[str] = []
    for name in ("name", "version", "author_username", "description", "notes"):
        parts.append(get(name) or "")
    for name in ("tags", "trained_words", "triggers"):
        parts.extend(get(name) or ())
    return "\n".join(part for part in parts if part).casefold()


class Adapters:
    """The catalogue for reading."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session
        self._sqlite = session.get_bind().dialect.name == "sqlite"

    def revision(self) -> int:
        """A number that rises with every change of the catalogue."""
        query = select(Counter.value).where(Counter.name == "adapters_revision")
        return int(self._session.connection().scalar(query) or 0)

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

    def records(self, query: AdapterQuery) -> list[dict[str, Any]]:
        """One page of records, ready for orjson."""
        numbers = (
            self._filtered(select(_ADAPTERS.c.pk), query)
            .order_by(*_order(query))
            .limit(query.per_page)
            .offset((query.page - 1) * query.per_page)
        )
        return self._records(list(self._session.connection().scalars(numbers)))

    def record(self, adapter_id: str) -> dict[str, Any] | None:
        """One record, ready for orjson."""
        numbers = select(_ADAPTERS.c.pk).where(_ADAPTERS.c.id == adapter_id)
        records = self._records(list(self._session.scalars(numbers)))
        return records[0] if records else None

    def _records(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        if not numbers:
            return []
        listed = ",".join(map(str, numbers))
        rows = self._session.connection().exec_driver_sql(f"{_RECORDS_SQL}({listed})")
        found = {row[0]: _record_from_row(row[1:]) for row in rows}
        return [found[number] for number in numbers if number in found]

    def count(self, query: AdapterQuery) -> int:
        """How many records the query's filters leave."""
        counted = self._filtered(select(func.count()).select_from(_ADAPTERS), query)
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

    def _filtered(self, query: Select[Any], asked: AdapterQuery) -> Select[Any]:
        c = _ADAPTERS.c
        clauses: list[ColumnElement[bool]] = [self._contains(word) for word in asked.words()]
        if asked.active_only:
            clauses.append(c.active.is_(True))
        if asked.tags:
            clauses.append(_tagged(asked.tags))
        clauses.extend(_tagged((tag,)) for tag in asked.all_tags)
        if asked.exclude_tags:
            clauses.append(~_tagged(asked.exclude_tags))
        if asked.untagged:
            clauses.append(~c.pk.in_(select(AdapterTag.adapter_pk)))
        if asked.base_model is not None:
            clauses.append(c.base_model == asked.base_model)
        if asked.network_type is not None:
            clauses.append(c.network_type == asked.network_type)
        if asked.favorite is not None:
            clauses.append(c.favorite.is_(asked.favorite))
        if asked.folder is not None:
            below = c.folder.startswith(asked.folder + "/", autoescape=True)
            clauses.append(or_(c.folder == asked.folder, below))
        if asked.file_state is not None:
            clauses.append(c.file_state == asked.file_state)
        if asked.nsfw_max is not None:
            clauses.append(c.nsfw_level <= asked.nsfw_max)
        return query.where(and_(*clauses)) if clauses else query

    def _contains(self, word: str) -> ColumnElement[bool]:
        if not self._sqlite:
            return _ADAPTERS.c.search_text.contains(word, autoescape=True)
        if len(word) < _TRIGRAM:
            return func.instr(_ADAPTERS.c.search_text, word) > 0
        phrase = '"' + word.replace('"', '""') + '"'
        return _ADAPTERS.c.pk.in_(
            select(_FULL_TEXT.c.rowid).where(_FULL_TEXT.c.adapters_fts.op("MATCH")(phrase))
        )


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
        adapter.updated_at = utc_now()
        adapter.search_text = search_text(adapter)
        self._session.flush()
        if retag:
            self._session.execute(delete(AdapterTag).where(AdapterTag.adapter_pk == adapter.pk))
            self._write_tags({adapter.pk: adapter.tags})
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

    def remove(self, adapters: Sequence[Adapter]) -> None:
        """Delete records and remember their files as excluded."""
        now = utc_now()
        for adapter in adapters:
            self._session.merge(
                ExcludedFile(
                    file_key=adapter.file_key,
                    file_path=adapter.file_path,
                    name=adapter.name,
                    excluded_at=now,
                )
            )
            self._session.delete(adapter)
        self._session.flush()
        self._bump()

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
        defaults = _defaults()
        self._insert_many(_ADAPTERS.name, _INSERTED, [_values({**defaults, **r}) for r in rows])
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
        for start in range(0, len(retagged), _CHUNK):
            chunk = list(retagged)[start : start + _CHUNK]
            self._session.execute(delete(AdapterTag).where(AdapterTag.adapter_pk.in_(chunk)))
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

    def _write_tags(self, tags: Mapping[int, Iterable[str]]) -> None:
        rows = [
            (tag.casefold()[:200], pk, tag[:200])
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
        self._session.execute(
            update(Counter)
            .where(Counter.name == "adapters_revision")
            .values(value=Counter.value + 1)
            .execution_options(synchronize_session=False)
        )


def _record_from_row(row: Sequence[Any]) -> dict[str, Any]:
    values = list(row[:-1])
    for index in _JSON_INDEXES:
        if values[index] is not None:
            values[index] = orjson.Fragment(values[index])
    for index in _BOOLEAN_INDEXES:
        values[index] = bool(values[index])
    record = dict(zip(RECORD_COLUMNS, values, strict=True))
    record["preview_url"] = f"/adapters/{record['id']}/preview" if row[-1] else None
    return record


def _values(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row as the driver takes it, in the order of `_INSERTED`."""
    return tuple(
        orjson.dumps(row[name]).decode() if name in _JSON and row[name] is not None else row[name]
        for name in _INSERTED
    )


def _defaults() -> dict[str, Any]:
    """A row in which every column but the keys has its value for "nothing known"."""
    row: dict[str, Any] = {}
    for column_ in _ADAPTERS.columns:
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


def _tagged(tags: Sequence[str]) -> ColumnElement[bool]:
    keys = [tag.casefold() for tag in tags]
    return _ADAPTERS.c.pk.in_(select(AdapterTag.adapter_pk).where(AdapterTag.tag_key.in_(keys)))


def _order(query: AdapterQuery) -> tuple[ColumnElement[Any], ...]:
    c = _ADAPTERS.c
    if query.sort == "random":
        multiplier = literal(query.seed % 1_000_003 * 2 + 48_271, Integer)
        return (cast(c.pk, Integer) * multiplier % _SHUFFLE_PRIME, c.pk)
    key: ColumnElement[Any] = c.name_key
    if query.sort == "rating":
        key = func.coalesce(c.rating, 0)
    elif query.sort != "name":
        key = c[query.sort]
    directed = key.desc() if query.descending else key.asc()
    return (directed, c.name_key, c.pk) if query.sort != "name" else (directed, c.pk)
