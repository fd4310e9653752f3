"""The table of adapters as Core sees it, and the keys that lists are ordered by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import ColumnElement, Integer, Table, func, literal, literal_column, select
from sqlalchemy import cast as sql_cast

from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.db.models import Adapter, CollectionAdapter
from lora_manager_core.db.types import JsonText

ADAPTERS = cast(Table, Adapter.__table__)
#: The columns that hold JSON as text.
JSON_COLUMNS = frozenset(c.name for c in ADAPTERS.columns if isinstance(c.type, JsonText))
#: Literal, because an index is used only for the very expression it was made of.
RATING: ColumnElement[int] = literal_column("coalesce(adapters.rating, 0)", Integer)
_LAST_USE: ColumnElement[str] = literal_column("coalesce(adapters.last_used_at, '')")
_KEYS: Mapping[str, ColumnElement[Any]] = {"rating": RATING, "last_used_at": _LAST_USE}
#: A prime above any row number, for the shuffled order.
_SHUFFLE_PRIME = 2_147_483_647
#: Orders that no index has.
SORTED_EACH_TIME = ("random", "position")


def order_of(query: AdapterQuery, backwards: bool = False) -> tuple[ColumnElement[Any], ...]:
    """What a list is ordered by: the key as asked, ties by name; or exactly the other way round."""
    c = ADAPTERS.c
    ties = (c.name_key, False), (c.pk, False)
    keys: tuple[tuple[ColumnElement[Any], bool], ...]
    if query.sort == "random":
        multiplier = literal(query.seed % 1_000_003 * 2 + 48_271, Integer)
        shuffled = sql_cast(c.pk, Integer) * multiplier % _SHUFFLE_PRIME
        keys = (shuffled, False), (c.pk, False)
    elif query.sort == "position":
        place = select(CollectionAdapter.position).where(
            CollectionAdapter.collection_id == (query.collection or ""),
            CollectionAdapter.adapter_id == c.id,
        )
        keys = (func.coalesce(place.scalar_subquery(), 0), query.descending), *ties
    elif query.sort == "name":
        keys = (c.name_key, query.descending), (c.pk, False)
    else:
        key = _KEYS[query.sort] if query.sort in _KEYS else c[query.sort]
        keys = (key, query.descending), *ties
    return tuple(k.desc() if down != backwards else k.asc() for k, down in keys)
