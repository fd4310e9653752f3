"""Which adapters a job on the library is for: some, those a filter leaves, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from sqlalchemy import select

from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.schemas import ListQuery
from lora_manager_core.common.schema import RequestModel
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.errors import AdapterNotFound, InvalidRequest


class AdapterFilter(ListQuery):
    """The filters of `GET /adapters`; order and page mean nothing here."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True, extra="forbid")


class ChosenAdapters(RequestModel):
    """Some adapters, or those a filter leaves; without either, all."""

    adapter_ids: Annotated[list[str], Field(min_length=1, max_length=100_000)] | None = None
    filter: AdapterFilter | None = Field(None, description="As in `GET /adapters`.")

    def order(self) -> dict[str, Any]:
        """What the payload of a job says of them.

        Raises:
            InvalidRequest: both were given.
        """
        if self.adapter_ids is not None and self.filter is not None:
            raise InvalidRequest("Send `adapter_ids` or `filter`, not both.")
        return self.model_dump(include={"adapter_ids", "filter"}, exclude_unset=True)


def require_known(session: ReadSession, chosen: ChosenAdapters) -> None:
    """Raise AdapterNotFound, with `unknown_ids`, if adapters are named that there are not."""
    if chosen.adapter_ids is None:
        return
    known = {adapter.id for adapter in Adapters(session).get_many(chosen.adapter_ids)}
    unknown = sorted(set(chosen.adapter_ids) - known)
    if unknown:
        raise AdapterNotFound(
            f"{len(unknown)} of the ids are unknown; nothing was done.", unknown_ids=unknown[:100]
        )


def chosen_rows(
    session: ReadSession, order: Mapping[str, Any], columns: Sequence[str]
) -> list[Any]:
    """These columns of the adapters that an order is for, by name; those gone are left out."""
    query = select(*(getattr(Adapter, name) for name in columns)).order_by(Adapter.name_key)
    ids = order.get("adapter_ids")
    if ids is not None:
        found: list[Any] = []
        for start in range(0, len(ids), 5000):
            found += session.execute(query.where(Adapter.id.in_(ids[start : start + 5000])))
        return found
    if order.get("filter"):
        asked = AdapterQuery.from_request(AdapterFilter(**order["filter"]))
        query = query.where(Adapter.pk.in_(Adapters(session).selection(asked)))
    return list(session.execute(query))
