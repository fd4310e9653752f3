"""Writes archived collections and stacks, as it was decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select, update

from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.words import word_key
from lora_manager_core.db.models import (
    Adapter,
    Base,
    Collection,
    CollectionAdapter,
    Stack,
    StackedAdapter,
)
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.imports.plan import SetDecisions, TableDecisions
from lora_manager_core.import_export.imports.repository import chunks

_MODELS: Mapping[str, type[Base]] = {
    "collections": Collection,
    "collection_adapters": CollectionAdapter,
    "stacks": Stack,
    "stack_entries": StackedAdapter,
}


class SetWriter:
    """The sets of one archive; `adapter_ids` tells which record here an archived one became."""

    TABLES = frozenset(_MODELS)

    def __init__(
        self,
        session: WriteSession,
        archive: Archive,
        decided: TableDecisions,
        adapter_ids: Mapping[str, str],
    ) -> None:
        self._session = session
        self._archive = archive
        self._decided = decided
        self._adapter_ids = adapter_ids

    def write(self, table: str) -> None:
        """Insert the rows of one of `TABLES` that are taken."""
        rows = [row for row in self._archive.rows(table) if self._decided.takes(table, row)]
        if table == "collections":
            rows = _named(rows, self._decided.collections)
        elif table == "stacks":
            rows = _named(rows, self._decided.stacks)
        elif table == "collection_adapters":
            taken = self._decided.collections.taken
            rows = [{**row, "collection_id": taken[row["collection_id"]][0]} for row in rows]
            add_members(self._session, self._as_here(rows))
            return
        else:
            taken = self._decided.stacks.taken
            rows = [{**row, "stack_id": taken[row["stack_id"]][0]} for row in rows]
            rows = self._as_here(rows)
        if rows:
            self._session.connection().execute(insert(_MODELS[table]), rows)

    def merge(self) -> None:
        """Fill what is empty in those that are here."""
        for table, model, decided in (
            ("collections", Collection, self._decided.collections),
            ("stacks", Stack, self._decided.stacks),
        ):
            for row in self._archive.rows(table) if decided.merged else ():
                here = decided.merged.get(row["id"])
                if here is not None and row["description"]:
                    self._session.execute(
                        update(model)
                        .where(model.id == here, func.coalesce(model.description, "") == "")
                        .values(description=row["description"], updated_at=utc_now())
                    )
        if self._decided.collections.merged:
            self._merge_members(self._decided.collections.merged)
        if self._decided.stacks.merged:
            self._merge_entries(self._decided.stacks.merged)

    def _merge_members(self, merged: Mapping[str, str]) -> None:
        """Those that a collection by hand lacks come last in it."""
        owner, place = CollectionAdapter.collection_id, CollectionAdapter.position
        by_hand = select(Collection.id).where(
            Collection.id.in_(merged.values()), Collection.query.is_(None)
        )
        ends = dict.fromkeys(self._session.scalars(by_hand), 0)
        query = select(owner, func.max(place) + 1).where(owner.in_(ends)).group_by(owner)
        ends.update({row[0]: row[1] for row in self._session.execute(query)})
        rows = [
            {**row, "collection_id": here, "position": ends[here] + row["position"]}
            for row in self._archive.rows("collection_adapters")
            if (here := merged.get(row["collection_id"])) in ends and here is not None
        ]
        add_members(self._session, self._as_here(rows))

    def _merge_entries(self, merged: Mapping[str, str]) -> None:
        """Stacks without entries get them."""
        owner = StackedAdapter.stack_id
        filled = set(
            self._session.scalars(select(owner).where(owner.in_(merged.values())).distinct())
        )
        rows = [
            {**row, "stack_id": here}
            for row in self._archive.rows("stack_entries")
            if (here := merged.get(row["stack_id"])) is not None and here not in filled
        ]
        if rows:
            self._session.connection().execute(insert(StackedAdapter), self._as_here(rows))

    def _as_here(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows with the adapters as they are known here; null where they are not."""
        mapped = [
            {**row, "adapter_id": self._adapter_ids.get(row["adapter_id"], row["adapter_id"])}
            for row in rows
        ]
        here = _known(self._session, {row["adapter_id"] for row in mapped if row["adapter_id"]})
        return [
            {**row, "adapter_id": row["adapter_id"] if row["adapter_id"] in here else None}
            for row in mapped
        ]


def members_of_collections(session: ReadSession) -> list[dict[str, Any]]:
    """Which adapters people put into which collections."""
    query = select(*CollectionAdapter.__table__.columns)
    return [dict(row) for row in session.execute(query).mappings()]


def add_members(session: WriteSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put adapters into collections, but for those that are in them or are not here."""
    known = _known(session, {row["adapter_id"] for row in rows if row["adapter_id"]})
    there = {
        (row["collection_id"], row["adapter_id"])
        for row in (members_of_collections(session) if rows else ())
    }
    added: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["collection_id"], row["adapter_id"])
        if row["adapter_id"] in known and key not in there:
            added.setdefault(key, dict(row))
    if added:
        session.connection().execute(insert(CollectionAdapter), list(added.values()))


def _known(session: ReadSession, adapter_ids: set[str]) -> set[str]:
    known: set[str] = set()
    for chunk in chunks(adapter_ids):
        known.update(session.scalars(select(Adapter.id).where(Adapter.id.in_(chunk))))
    return known


def _named(rows: Iterable[Mapping[str, Any]], decided: SetDecisions) -> list[dict[str, Any]]:
    """The sets under the ids and names that they get here."""
    named = []
    for row in rows:
        set_id, name = decided.taken[row["id"]]
        named.append({**row, "id": set_id, "name": name, "name_key": word_key(name)})
    return named
