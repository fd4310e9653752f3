"""What goes in and out of the collection routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lora_manager_core.adapters.schemas import ListQuery
from lora_manager_core.common.schema import LongText, RequestModel, Word

_Id = Annotated[str, Field(max_length=100)]
_Ids = Annotated[list[_Id], Field(max_length=100_000)]
#: Fields of a list that say how it is shown, or that would lead in a circle.
_NOT_SAVED = ("page", "per_page", "seed", "collection")


class SavedSearch(ListQuery):
    """A search to be kept: the filters of `GET /adapters`, without page and collection."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"tags": "ink"}})

    @model_validator(mode="before")
    @classmethod
    def _is_a_filter(cls, given: Any) -> Any:
        found = [name for name in _NOT_SAVED if isinstance(given, dict) and name in given]
        if found:
            raise ValueError(f"a saved search has no {', '.join(found)}; leave that out")
        return given


class CollectionCreate(RequestModel):
    """A new collection: of adapters chosen by hand, or of what a search finds."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Ink", "query": {"tags": "ink", "favorite": True}}}
    )

    name: Word = Field(description="Names are distinct without case.")
    description: LongText | None = None
    query: SavedSearch | None = Field(
        None, description="Makes it a saved search, evaluated whenever it is looked at."
    )
    adapter_ids: _Ids | None = Field(None, description="Its adapters, in order; not with `query`.")

    @model_validator(mode="after")
    def _is_one_of_two(self) -> CollectionCreate:
        if self.query is not None and self.adapter_ids:
            raise ValueError("a saved search finds its adapters itself; leave out adapter_ids")
        return self


class CollectionUpdate(RequestModel):
    """A change of a collection. At least one field."""

    name: Word | None = None
    description: LongText | None = None
    query: SavedSearch | None = Field(None, description="Another search, of a saved search only.")


class CollectionsQuery(BaseModel):
    """Which collections."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    adapter_id: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Only those that this adapter is in, saved searches included."
    )
    page: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    per_page: Annotated[int, Field(ge=1, le=1000)] = 24


class MembersRequest(RequestModel):
    """One action on the adapters of a collection by hand, in one transaction."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"action": "add", "adapter_ids": ["7d1c…"]}}
    )

    action: Literal["add", "remove", "order"] = Field(
        description="`add` puts them last (those that are in it stay where they are), `order` "
        "puts them first, in this order."
    )
    adapter_ids: _Ids


class OrderRequest(RequestModel):
    """The order in which collections are listed; those not named come behind, as they were."""

    collection_ids: Annotated[list[_Id], Field(max_length=10_000)]


class CollectionRecord(BaseModel):
    """One collection."""

    id: str
    name: str
    description: str | None
    query: dict[str, Any] | None = Field(
        description="Of a saved search: the filters of `GET /adapters`; else null."
    )
    adapter_count: int = Field(description="Adapters in it just now.")
    position: int
    created_at: str
    updated_at: str


class CollectionAnswer(BaseModel):
    """One collection."""

    collection: CollectionRecord


class CollectionPage(BaseModel):
    """Collections in their order: `total` counts all, `filtered` those asked for."""

    items: list[CollectionRecord]
    total: int
    filtered: int
    page: int
    pages: int
    per_page: int


class MembersAnswer(BaseModel):
    """What became of the adapters of a collection."""

    collection: CollectionRecord
    changed: int = Field(description="Adapters added, removed or moved.")
