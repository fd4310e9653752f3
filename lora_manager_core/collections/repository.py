"""The queries on collections. Nothing here commits."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update

from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.table import ADAPTERS
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.words import word_key
from lora_manager_core.db import counters
from lora_manager_core.db.models import Adapter, Collection, CollectionAdapter
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession

#: Rows per statement where ids are listed in it (SQLite allows 32,766 parameters).
_CHUNK = 5000


class Collections:
    """The collections for reading."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def all(self) -> list[Collection]:
        """Every collection, in the order in which they are listed."""
        query = select(Collection).order_by(Collection.position, Collection.name_key)
        return list(self._session.scalars(query))

    def get(self, collection_id: str) -> Collection | None:
        """The collection of that id."""
        return self._session.get(Collection, collection_id)

    def find_by_name(self, name: str) -> Collection | None:
        """The collection of that name, whatever its case."""
        query = select(Collection).where(Collection.name_key == word_key(name))
        return self._session.scalars(query).first()

    def counts(self, collections: Sequence[Collection]) -> dict[str, int]:
        """How many adapters each has just now."""
        counted = dict.fromkeys((one.id for one in collections), 0)
        query = (
            select(CollectionAdapter.collection_id, func.count())
            .where(CollectionAdapter.collection_id.in_(counted))
            .group_by(CollectionAdapter.collection_id)
        )
        counted.update({row[0]: row[1] for row in self._session.execute(query)})
        adapters = Adapters(self._session)
        for one in collections:
            if one.query is not None:
                counted[one.id] = adapters.count(AdapterQuery(collection=one.id))
        return counted

    def with_adapter(self, collections: Sequence[Collection], adapter_id: str) -> list[Collection]:
        """Those of them that an adapter is in."""
        mine = select(CollectionAdapter.collection_id).where(
            CollectionAdapter.adapter_id == adapter_id
        )
        by_hand = set(self._session.scalars(mine))
        adapters = Adapters(self._session)

        def _finds(one: Collection) -> bool:
            found = adapters.selection(AdapterQuery(collection=one.id))
            return self._session.scalar(found.where(ADAPTERS.c.id == adapter_id)) is not None

        return [
            one
            for one in collections
            if one.id in by_hand or (one.query is not None and _finds(one))
        ]

    def members(self, collection_id: str) -> list[str]:
        """The ids of the adapters that people put into it, in its order."""
        c = CollectionAdapter
        query = select(c.adapter_id).where(c.collection_id == collection_id)
        return list(self._session.scalars(query.order_by(c.position, c.adapter_id)))

    def unknown(self, adapter_ids: Sequence[str]) -> list[str]:
        """Those of the ids that no adapter has, sorted."""
        known: set[str] = set()
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = adapter_ids[start : start + _CHUNK]
            known.update(self._session.scalars(select(Adapter.id).where(Adapter.id.in_(chunk))))
        return sorted(set(adapter_ids) - known)


class CollectionWriter(Collections):
    """The collections for writing; lists of adapters are counted anew after each change."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._session: WriteSession = session

    def add(self, collection: Collection) -> None:
        """Add a collection, behind the others."""
        last = self._session.scalar(select(func.max(Collection.position)))
        collection.position = 0 if last is None else last + 1
        self._session.add(collection)
        self.save(collection)

    def save(self, collection: Collection) -> None:
        """Store what was changed on a collection."""
        collection.name_key = word_key(collection.name)
        collection.updated_at = utc_now()
        self._session.flush()
        counters.raise_counter(self._session, counters.ADAPTERS)

    def remove(self, collection: Collection) -> None:
        """Delete a collection; its adapters stay."""
        self._session.delete(collection)
        self._session.flush()
        counters.raise_counter(self._session, counters.ADAPTERS)

    def place(self, collections: Sequence[Collection]) -> None:
        """List them in this order."""
        for position, collection in enumerate(collections):
            collection.position = position
        self._session.flush()

    def append(self, collection_id: str, adapter_ids: Sequence[str]) -> None:
        """Put adapters, which are not in it, last into a collection."""
        c, now = CollectionAdapter, utc_now()
        last = self._session.scalar(
            select(func.max(c.position)).where(c.collection_id == collection_id)
        )
        first = 0 if last is None else last + 1
        rows = [
            {
                "collection_id": collection_id,
                "adapter_id": adapter_id,
                "position": first + number,
                "added_at": now,
            }
            for number, adapter_id in enumerate(adapter_ids)
        ]
        if rows:
            self._session.connection().execute(insert(c), rows)

    def take_out(self, collection_id: str, adapter_ids: Sequence[str]) -> None:
        """Take adapters out of a collection."""
        c = CollectionAdapter
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = adapter_ids[start : start + _CHUNK]
            self._session.execute(
                delete(c)
                .where(c.collection_id == collection_id, c.adapter_id.in_(chunk))
                .execution_options(synchronize_session=False)
            )

    def order(self, collection_id: str, adapter_ids: Sequence[str]) -> None:
        """Give all adapters of a collection this order."""
        rows = [
            {"collection_id": collection_id, "adapter_id": adapter_id, "position": position}
            for position, adapter_id in enumerate(adapter_ids)
        ]
        if rows:
            self._session.execute(update(CollectionAdapter), rows)
