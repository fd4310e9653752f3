"""The queries of moved files: records without their file, and records nobody has spoken of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, literal_column, or_, select
from sqlalchemy.orm import aliased

from lora_manager_core.adapters.writer import AdapterWriter, is_untouched
from lora_manager_core.db.models import Adapter, Base
from lora_manager_core.db.unit_of_work import ReadSession

#: Rows per statement where hashes are listed.
_CHUNK = 5000
#: Tables with a row for each adapter that nobody but this program has written.
_MADE_BY_US = frozenset(("adapter_tags", "text_vectors", "weight_sketches"))


@dataclass(frozen=True, slots=True)
class MovedRecord:
    """One record whose file is gone, or appeared. `mark` is size and time stamp of the file."""

    pk: int
    id: str
    path: str
    key: str
    sha256: str
    mark: tuple[int, int]
    touched: bool
    created_at: str


class MovedStore:
    """Reads which records may belong together."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def untouched(self, sha256s: Collection[str] | None = None) -> list[MovedRecord]:
        """Records of files that are there and that one is gone like; nobody has spoken of them.

        Of these hashes, or of all.
        """
        gone = aliased(Adapter)
        lost = select(gone.primary_file_sha256).where(
            # Literal, for only so does SQLite see that the partial index serves.
            gone.file_state != literal_column("'present'"),
            gone.file_state == "missing",
            gone.primary_file_sha256.is_not(None),
        )
        query = select(*_COLUMNS).where(
            _HERE, Adapter.primary_file_sha256.in_(lost), *nobody_spoke()
        )
        if sha256s is None:
            return [record for record in self._records(query) if not record.touched]
        return [
            r for chunk in _of(sha256s) for r in self._records(query.where(chunk)) if not r.touched
        ]

    def gone(self, sha256s: Collection[str]) -> list[MovedRecord]:
        """The records of these hashes whose file is missing."""
        query = select(*_COLUMNS).where(Adapter.file_state == "missing")
        return [record for chunk in _of(sha256s) for record in self._records(query.where(chunk))]

    def _records(self, query: Any) -> list[MovedRecord]:
        rows = self._session.execute(query.order_by(Adapter.pk))
        return [_record(row) for row in rows]


class MovedWriter(AdapterWriter):
    """Reads them again within the unit of work that changes them."""

    def untouched_again(self, record: MovedRecord) -> Adapter | None:
        """The new record, if it is still the same and still nobody has spoken of it."""
        query = select(Adapter).where(Adapter.pk == record.pk, _HERE, *nobody_spoke())
        found = self._session.scalars(query.with_for_update()).first()
        return found if found is not None and _record(found) == record else None

    def gone_again(self, records: Sequence[MovedRecord]) -> list[Adapter]:
        """Those records whose file is still missing."""
        numbers = [record.pk for record in records]
        query = select(Adapter).where(Adapter.pk.in_(numbers), Adapter.file_state == "missing")
        hashes = {record.sha256 for record in records}
        found = self._session.scalars(query.with_for_update())
        return [adapter for adapter in found if adapter.primary_file_sha256 in hashes]

    @staticmethod
    def hashes_of(adapter: Adapter) -> dict[str, Any]:
        """The hashes of a record's file, as columns."""
        names = ("primary_file_sha256", "autov2", "tensors_sha256", "autov3", "file_sha256_state")
        return {**{name: getattr(adapter, name) for name in names}, "file_sha256_problem": None}

    def drop(self, adapter: Adapter) -> None:
        """Delete a record whose file another one takes over: the file is not excluded."""
        self._session.delete(adapter)
        self._session.flush()
        self._bump()


_COLUMNS = (
    Adapter.pk,
    Adapter.id,
    Adapter.file_path,
    Adapter.file_key,
    Adapter.primary_file_sha256,
    Adapter.file_size,
    Adapter.file_mtime_ns,
    Adapter.origin,
    Adapter.edited_fields,
    Adapter.active,
    Adapter.created_at,
)
_HERE = and_(Adapter.file_state == "present", Adapter.origin == "scan")


def _record(row: Any) -> MovedRecord:
    """From a row with `_COLUMNS`, or a whole record."""
    return MovedRecord(
        pk=row.pk,
        id=row.id,
        path=row.file_path,
        key=row.file_key,
        sha256=row.primary_file_sha256 or "",
        mark=(row.file_size, row.file_mtime_ns),
        touched=not is_untouched(row) or row.active,
        created_at=row.created_at,
    )


def _of(sha256s: Collection[str]) -> Iterator[ColumnElement[bool]]:
    listed = list(sha256s)
    for start in range(0, len(listed), _CHUNK):
        yield Adapter.primary_file_sha256.in_(listed[start : start + _CHUNK])


@lru_cache(maxsize=1)
def nobody_spoke() -> tuple[ColumnElement[bool], ...]:
    """That no row of any table refers to the record: runs, feedback, collections and the like.

    Found in the schema, so that no table that is added one day is forgotten.
    """
    conditions = []
    for table in Base.metadata.sorted_tables:
        if table.name in _MADE_BY_US or table is Adapter.__table__:
            continue
        own = [
            (column, Adapter.pk if column.name.endswith("_pk") else Adapter.id)
            for column in table.columns
            if column.name in ("adapter_id", "adapter_pk", "lora_id")
            or any(key.column.table is Adapter.__table__ for key in column.foreign_keys)
        ]
        if own:
            conditions.append(~exists().where(or_(*(column == key for column, key in own))))
    return tuple(conditions)
