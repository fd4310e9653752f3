"""What refers to adapters in other tables, so that a deletion can be taken back with all of it.

A guard test compares the lists with the foreign keys of the schema: whoever adds a table decides
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Table, and_, bindparam, insert, select, update

from lora_manager_core.db.models import Base
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession

#: Table and column. Where a deletion sets the column to null, it is set again; where it deletes the
#: row (`ON DELETE CASCADE`), the row comes back, unless what else it refers to is gone.
REFERENCES: tuple[tuple[str, str], ...] = (
    ("collection_adapters", "adapter_id"),
    ("run_adapters", "adapter_id"),
    ("stack_entries", "adapter_id"),
)

#: Those that nothing is remembered of, and why.
MADE_ANEW: Mapping[tuple[str, str], str] = {
    ("adapter_tags", "adapter_pk"): "made from the tags of the adapter",
    ("text_vectors", "adapter_id"): "made from the texts of the adapter",
    ("weight_sketches", "adapter_id"): "made from the model file",
}

#: Table → what refers to the adapters from there, one list per row.
Remembered = dict[str, list[list[Any]]]

_CHUNK = 5000


def remember(session: ReadSession, adapter_ids: Sequence[str]) -> Remembered:
    """What refers to these adapters now, as JSON."""
    remembered: Remembered = {}
    for table, column in _references():
        kept = _kept(table, column)
        rows: list[list[Any]] = []
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = adapter_ids[start : start + _CHUNK]
            query = select(column, *kept).where(column.in_(chunk))
            rows.extend(list(row) for row in session.execute(query))
        if rows:
            remembered[str(table.name)] = rows
    return remembered


def restore(session: WriteSession, remembered: Remembered, adapter_ids: Sequence[str]) -> None:
    """Have these adapters (of those that were deleted) referred to as they were."""
    back = set(adapter_ids)
    for table, column in _references():
        names = [column.name, *(kept.name for kept in _kept(table, column))]
        rows = [
            dict(zip(names, row, strict=True))
            for row in remembered.get(table.name, ())
            if row[0] in back
        ]
        if rows and _is_link(column):
            _link(session, table, column, rows)
        elif rows:
            _insert(session, table, column, rows)


def _references() -> list[tuple[Table, Column[Any]]]:
    tables = Base.metadata.tables
    return [(tables[table], tables[table].c[column]) for table, column in REFERENCES]


def _is_link(column: Column[Any]) -> bool:
    """Whether a row outlives the adapter it refers to."""
    return all(key.ondelete == "SET NULL" for key in column.foreign_keys)


def _kept(table: Table, column: Column[Any]) -> list[Column[Any]]:
    """By what a row is known again, with its name if it has one; or all of it, if it goes."""
    if not _is_link(column):
        return [other for other in table.columns if other is not column]
    names = [other for other in table.columns if other.name == "name"]
    return [*(key for key in table.primary_key.columns if key is not column), *names]


def _link(
    session: WriteSession, table: Table, column: Column[Any], rows: Sequence[dict[str, Any]]
) -> None:
    """Set the column where it is still null and the row is still the same."""
    known = _kept(table, column)
    statement = (
        update(table)
        .where(column.is_(None), and_(*(key == bindparam(f"old_{key.name}") for key in known)))
        .values({column.name: bindparam("adapter")})
    )
    session.connection().execute(
        statement,
        [
            {"adapter": row[column.name], **{f"old_{key.name}": row[key.name] for key in known}}
            for row in rows
        ],
    )


def _insert(
    session: WriteSession, table: Table, column: Column[Any], rows: Sequence[dict[str, Any]]
) -> None:
    for other in table.columns:
        for key in other.foreign_keys if other is not column else ():
            wanted = {row[other.name] for row in rows}
            there = set(session.scalars(select(key.column).where(key.column.in_(wanted))))
            rows = [row for row in rows if row[other.name] in there]
    if rows:
        session.connection().execute(insert(table), list(rows))
