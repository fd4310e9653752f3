"""What becomes of archived collections and stacks where such names or ids are here already.

They are compared as people see them: by name, description, search or entries, and in which order.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from lora_manager_core.common.words import word_key
from lora_manager_core.db.models import (
    Adapter,
    Base,
    Collection,
    CollectionAdapter,
    Stack,
    StackedAdapter,
)
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.imports.plan import Kind, SetDecisions
from lora_manager_core.import_export.schemas import Rule

#: Tells of a conflict (kind, key, name, problem, what differs); gives what to do.
OnConflict = Callable[[Kind, str, str, str, list[str]], Rule]
#: Room for a number behind a name.
_LONGEST_NAME = 190


@dataclass(frozen=True, slots=True)
class SetTables:
    """The two tables of one kind of set; `owner` is the member's column for the set."""

    one: str
    model: type[Base]
    members: type[Base]
    owner: str
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """The table of the sets."""
        return str(self.model.__tablename__)


COLLECTIONS = SetTables(
    "collection", Collection, CollectionAdapter, "collection_id", ("name", "description", "query")
)
STACKS = SetTables("stack", Stack, StackedAdapter, "stack_id", ("name", "description"))
#: Of stack entries: what belongs to the place where they are.
_OF_THE_PLACE = ("stack_id", "position", "adapter_id")

Row = Mapping[str, Any]
_Members = dict[str, list[Any]]


class SetMerge:
    """Decides on the sets of one archive; `emptied`: what is here gives way to all of them."""

    def __init__(
        self,
        session: ReadSession,
        archive: Archive,
        adapter_ids: Mapping[str, str],
        emptied: bool,
        on_conflict: OnConflict,
    ) -> None:
        self._session = session
        self._archive = archive
        self._adapter_ids = adapter_ids
        self._emptied = emptied
        self._on_conflict = on_conflict

    def decide(self, tables: SetTables) -> SetDecisions:
        """What to do with every collection, or every stack.

        Raises:
            ArchiveRefused: one is in it twice, or something belongs to none of them.
        """
        theirs = {row["id"]: row for row in self._rows(tables.name)}
        names = {word_key(row["name"]): row["id"] for row in theirs.values()}
        if len(theirs) < sum(1 for _ in self._rows(tables.name)) or len(names) < len(theirs):
            raise doubled(tables.name)
        their_members = self._archived_members(tables, theirs)
        ours, our_members = ({}, {}) if self._emptied else self._here(tables)
        by_name = {row["name_key"]: row for row in ours.values()}
        made = SetDecisions()
        used = {*by_name, *names}
        for set_id, row in theirs.items():
            key = word_key(row["name"])
            known = by_name.get(key)
            if known is None and set_id in ours and ours[set_id]["name_key"] not in names:
                known = ours[set_id]
            other_id = self._other_id(set_id)
            if known is None:
                made.taken[set_id] = (other_id if set_id in ours else set_id, row["name"])
                continue
            members = their_members.get(set_id, [])
            differs = [name for name in tables.fields if known[name] != row[name]]
            if members != our_members.get(known["id"], []):
                differs.append("adapters")
            if not differs:
                continue
            problem = (
                f"A {tables.one} of this name is here and says something else."
                if known["name_key"] == key
                else f"This {tables.one} is named “{known['name']}” here."
            )
            rule = self._on_conflict(
                "choices", f"{tables.name}/{key}", row["name"], problem, differs
            )
            if rule == "replace":
                made.gone.add(known["id"])
                is_free = set_id not in ours or set_id == known["id"]
                made.taken[set_id] = (set_id if is_free else other_id, row["name"])
            elif rule == "rename" and other_id not in ours:
                made.taken[set_id] = (other_id, _free_name(row["name"], used))
            elif rule == "merge" and _adds(tables, known, row, our_members, members):
                made.merged[set_id] = known["id"]
        return made

    def _rows(self, table: str) -> Any:
        return self._archive.rows(table) if table in self._archive.tables() else ()

    def _archived_members(self, tables: SetTables, theirs: Mapping[str, Row]) -> _Members:
        name = str(tables.members.__tablename__)
        rows = list(self._rows(name))
        keys = tables.members.__table__.primary_key.columns.keys()  # type: ignore[attr-defined]
        if len({tuple(row[key] for key in keys) for row in rows}) < len(rows):
            raise doubled(name)
        if any(row[tables.owner] not in theirs for row in rows):
            raise orphaned(name)
        if tables is COLLECTIONS and rows:
            here = {*self._session.scalars(select(Adapter.id)), *self._adapter_ids.values()}
            rows = [
                {**row, "adapter_id": self._adapter_ids.get(row["adapter_id"], row["adapter_id"])}
                for row in rows
            ]
            rows = [row for row in rows if row["adapter_id"] in here]
        return _contents(tables, rows)

    def _here(self, tables: SetTables) -> tuple[dict[str, Row], _Members]:
        def _all(model: type[Base]) -> list[Row]:
            query = select(*model.__table__.columns)
            return [dict(row) for row in self._session.execute(query).mappings()]

        ours = {row["id"]: row for row in _all(tables.model)}
        return ours, _contents(tables, _all(tables.members))

    def _other_id(self, set_id: str) -> str:
        """Another id for it, the same each time for the same archive."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._archive.manifest.id}/{set_id}"))


def _contents(tables: SetTables, rows: list[Row]) -> _Members:
    """What is in each set, in its order."""
    contents: _Members = defaultdict(list)
    if tables is COLLECTIONS:
        for row in sorted(rows, key=lambda row: (row["position"], row["adapter_id"])):
            contents[row[tables.owner]].append(row["adapter_id"])
    else:
        for row in sorted(rows, key=lambda row: row["position"]):
            entry = {name: value for name, value in row.items() if name not in _OF_THE_PLACE}
            contents[row[tables.owner]].append(entry)
    return contents


def _adds(
    tables: SetTables, ours: Row, theirs: Row, our_members: _Members, members: list[Any]
) -> bool:
    """Whether a merge would change anything."""
    if theirs["description"] and not ours["description"]:
        return True
    mine = our_members.get(ours["id"], [])
    if tables is STACKS:
        return bool(members) and not mine
    return ours["query"] is None and any(adapter not in mine for adapter in members)


def _free_name(name: str, used: set[str]) -> str:
    number = 2
    while word_key(f"{name[:_LONGEST_NAME]} ({number})") in used:
        number += 1
    free = f"{name[:_LONGEST_NAME]} ({number})"
    used.add(word_key(free))
    return free


def doubled(table: str) -> ArchiveRefused:
    """A row that is in the archive twice."""
    return ArchiveRefused(f"The archive is refused: a row of “{table}” is in it more than once.")


def orphaned(table: str) -> ArchiveRefused:
    """A row without the one that it belongs to."""
    return ArchiveRefused(
        f"The archive is refused: a row of “{table}” belongs to one that is neither in it nor here."
    )
