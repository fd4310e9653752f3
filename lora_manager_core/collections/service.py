"""What a person does with collections: make, find, change, order and fill them."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any

from lora_manager_core.collections.repository import Collections, CollectionWriter
from lora_manager_core.collections.schemas import (
    CollectionCreate,
    CollectionsQuery,
    CollectionUpdate,
    MembersRequest,
    SavedSearch,
)
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import Collection
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import (
    AdapterNotFound,
    CollectionNotFound,
    InvalidRequest,
    NameTaken,
)

_NAMED_IDS = 100


class CollectionService:
    """The collections as people use them. What one holds is `GET /adapters?collection=`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def browse(self, asked: CollectionsQuery) -> dict[str, Any]:
        """One page of collections with the counts of their adapters."""
        with self._database.read() as session:
            collections = Collections(session)
            every = collections.all()
            found = every
            if asked.adapter_id is not None:
                found = collections.with_adapter(every, asked.adapter_id)
            start = (asked.page - 1) * asked.per_page
            shown = found[start : start + asked.per_page]
            counts = collections.counts(shown)
            return {
                "items": [_record(one, counts[one.id]) for one in shown],
                "total": len(every),
                "filtered": len(found),
                "page": asked.page,
                "pages": math.ceil(len(found) / asked.per_page),
                "per_page": asked.per_page,
            }

    def get(self, collection_id: str) -> dict[str, Any]:
        """One collection."""
        with self._database.read() as session:
            collections = Collections(session)
            return _counted(collections, _require(collections, collection_id))

    def create(self, request: CollectionCreate) -> dict[str, Any]:
        """Make a collection.

        Raises:
            NameTaken: another one has that name.
            AdapterNotFound: ids are unknown (named in `unknown_ids`).
        """
        with self._database.write() as session:
            collections = CollectionWriter(session)
            _require_free(collections, request.name)
            collection = Collection(
                id=str(uuid.uuid4()),
                name=request.name,
                description=request.description,
                query=_stored(request.query),
                created_at=utc_now(),
            )
            collections.add(collection)
            adapter_ids = list(dict.fromkeys(request.adapter_ids or ()))
            _require_adapters(collections, adapter_ids)
            collections.append(collection.id, adapter_ids)
            return _counted(collections, collection)

    def update(self, collection_id: str, request: CollectionUpdate) -> dict[str, Any]:
        """Change name, description or search of a collection.

        Raises:
            CollectionNotFound: no such collection.
            InvalidRequest: nothing to change, no name, or a search for one by hand (or none for a
                saved search).
            NameTaken: another one has that name.
        """
        given = request.model_fields_set
        if not given:
            raise InvalidRequest("The change is empty; send at least one field.")
        with self._database.write() as session:
            collections = CollectionWriter(session)
            collection = _require(collections, collection_id)
            if "name" in given:
                if request.name is None:
                    raise InvalidRequest("A collection needs a name.")
                _require_free(collections, request.name, collection)
                collection.name = request.name
            if "description" in given:
                collection.description = request.description
            if "query" in given:
                if (collection.query is None) != (request.query is None):
                    raise InvalidRequest(
                        "A collection by hand stays one, and a saved search, too; make a new one."
                    )
                collection.query = _stored(request.query)
            collections.save(collection)
            return _counted(collections, collection)

    def delete(self, collection_id: str) -> None:
        """Delete a collection; its adapters stay in the catalogue."""
        with self._database.write() as session:
            collections = CollectionWriter(session)
            collections.remove(_require(collections, collection_id))

    def order(self, collection_ids: Sequence[str]) -> None:
        """List collections in this order; those not named come behind.

        Raises:
            CollectionNotFound: ids are unknown (named in `unknown_ids`); nothing was changed.
        """
        with self._database.write() as session:
            collections = CollectionWriter(session)
            known = {one.id: one for one in collections.all()}
            unknown = sorted(set(collection_ids) - set(known))
            if unknown:
                raise CollectionNotFound(
                    f"{len(unknown)} of the collections are unknown; nothing was changed.",
                    unknown_ids=unknown[:_NAMED_IDS],
                )
            collections.place([known[i] for i in dict.fromkeys([*collection_ids, *known])])

    def change_members(self, collection_id: str, request: MembersRequest) -> dict[str, Any]:
        """Put adapters into a collection by hand, take them out, or put them first.

        Raises:
            CollectionNotFound: no such collection.
            InvalidRequest: it is a saved search.
            AdapterNotFound: ids are unknown, or to be ordered and not in it (named in
                `unknown_ids`); nothing was changed.
        """
        with self._database.write() as session:
            collections = CollectionWriter(session)
            collection = _require(collections, collection_id)
            if collection.query is not None:
                raise InvalidRequest(
                    "This is a saved search, which finds its adapters itself; change the search."
                )
            asked = list(dict.fromkeys(request.adapter_ids))
            before = collections.members(collection_id)
            inside = set(before)
            if request.action == "add":
                _require_adapters(collections, asked)
                new = [adapter_id for adapter_id in asked if adapter_id not in inside]
                collections.append(collection_id, new)
                changed = len(new)
            elif request.action == "remove":
                gone = [adapter_id for adapter_id in asked if adapter_id in inside]
                collections.take_out(collection_id, gone)
                changed = len(gone)
            else:
                _refuse(sorted(set(asked) - inside))
                after = list(dict.fromkeys([*asked, *before]))
                collections.order(collection_id, after)
                changed = sum(one != two for one, two in zip(before, after, strict=True))
            collections.save(collection)
            return {"collection": _counted(collections, collection), "changed": changed}


def _require(collections: Collections, collection_id: str) -> Collection:
    collection = collections.get(collection_id)
    if collection is None:
        raise CollectionNotFound(f"There is no collection {collection_id}.")
    return collection


def _require_free(collections: Collections, name: str, mine: Collection | None = None) -> None:
    other = collections.find_by_name(name)
    if other is not None and other is not mine:
        raise NameTaken(f"There is already a collection named “{other.name}”; choose another name.")


def _require_adapters(collections: Collections, adapter_ids: Sequence[str]) -> None:
    _refuse(collections.unknown(adapter_ids))


def _refuse(unknown: Sequence[str]) -> None:
    if unknown:
        raise AdapterNotFound(
            f"{len(unknown)} of the ids are unknown; nothing was changed.",
            unknown_ids=unknown[:_NAMED_IDS],
        )


def _stored(query: SavedSearch | None) -> dict[str, Any] | None:
    return None if query is None else query.model_dump(exclude_unset=True)


def _counted(collections: Collections, collection: Collection) -> dict[str, Any]:
    return _record(collection, collections.counts([collection])[collection.id])


def _record(collection: Collection, adapter_count: int) -> dict[str, Any]:
    return {
        "id": collection.id,
        "name": collection.name,
        "description": collection.description,
        "query": collection.query,
        "adapter_count": adapter_count,
        "position": collection.position,
        "created_at": collection.created_at,
        "updated_at": collection.updated_at,
    }
