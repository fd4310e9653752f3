"""How many records each value of each filter would leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select

from lora_manager_core.adapters.filters import Filters
from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.table import ADAPTERS, RATING
from lora_manager_core.db.models import AdapterTag
from lora_manager_core.db.unit_of_work import ReadSession

#: Facet → the filters of a query that are its own, each with its value for "not set".
FACETS: Mapping[str, Mapping[str, Any]] = {
    "base_model": {"base_model": None},
    "network_type": {"network_type": None},
    "favorite": {"favorite": None},
    "active": {"active_only": False},
    "file_state": {"file_state": None},
    "rating": {},
    "nsfw_level": {"nsfw_max": None},
    "folder": {"folder": None},
    "tags": {"tags": (), "all_tags": (), "untagged": False},
}
#: Those whose values are too many to be listed in full.
_LONG = ("folder", "tags")
#: The few values of these are counted in one pass over the records.
_SHORT = tuple(name for name in FACETS if name not in _LONG)
_COLUMNS = {name: ADAPTERS.c[name] for name in _SHORT if name != "rating"} | {"rating": RATING}
_BOOLEAN = ("favorite", "active")

#: Facet → its values with their counts, most frequent first.
FacetCounts = dict[str, list[dict[str, Any]]]


def unfiltered(query: AdapterQuery, facet: str) -> AdapterQuery:
    """The query without the facet's own filters."""
    return replace(query, **FACETS[facet])


class Facets:
    """Counts facets."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session
        self._filters = Filters(session, session.get_bind().dialect.name == "sqlite")

    def counts(self, names: Sequence[str], query: AdapterQuery, top: int) -> FacetCounts:
        """The values of these facets under a query; of the long ones the `top` most frequent."""
        found: FacetCounts = {}
        short = [name for name in names if name in _SHORT]
        if short:
            found |= self._short(short, query)
        if "folder" in names:
            found["folder"] = self._folders(query, top)
        if "tags" in names:
            found["tags"] = self._tags(query, top)
        return found

    def _short(self, names: Sequence[str], query: AdapterQuery) -> FacetCounts:
        clauses = self._filters.clauses(query)
        # What is left by filters is looked at once; of all records, the indexes know most counts.
        passes = [names] if clauses else [[name] for name in names]
        counted: dict[str, Counter[Any]] = {name: Counter() for name in names}
        for together in passes:
            columns = [_COLUMNS[name] for name in together]
            rows = self._session.connection().execute(
                select(*columns, func.count())
                .select_from(ADAPTERS)
                .where(*clauses)
                .group_by(*columns)
            )
            for *values, count in rows:
                for name, value in zip(together, values, strict=True):
                    counted[name][value] += count
        return {
            name: [
                {"value": bool(value) if name in _BOOLEAN else value, "count": count}
                for value, count in sorted(
                    counter.items(), key=lambda item: (-item[1], str(item[0]))
                )
            ]
            for name, counter in counted.items()
        }

    def _folders(self, query: AdapterQuery, top: int) -> list[dict[str, Any]]:
        c, count = ADAPTERS.c.folder, func.count().label("count")
        rows = self._session.connection().execute(
            select(c, count)
            .where(*self._filters.clauses(query))
            .group_by(c)
            .order_by(count.desc(), c)
            .limit(top)
        )
        return [{"value": folder, "count": number} for folder, number in rows]

    def _tags(self, query: AdapterQuery, top: int) -> list[dict[str, Any]]:
        tags, count = AdapterTag.__table__.c, func.count().label("count")
        counted = select(tags.tag_key, count)
        clauses = self._filters.clauses(query)
        if clauses:
            counted = counted.where(tags.adapter_pk.in_(select(ADAPTERS.c.pk).where(*clauses)))
        most = (
            counted.group_by(tags.tag_key).order_by(count.desc(), tags.tag_key).limit(top)
        ).subquery()
        # The index counts without the spellings; of those the oldest record's is looked up.
        spelling = (
            select(tags.tag)
            .where(tags.tag_key == most.c.tag_key)
            .order_by(tags.adapter_pk)
            .limit(1)
            .scalar_subquery()
        )
        rows = self._session.connection().execute(
            select(spelling, most.c.count).order_by(most.c.count.desc(), most.c.tag_key)
        )
        return [{"value": tag, "count": number} for tag, number in rows]
