"""Which adapters are composed: the active set, chosen ones, or a stack with weights of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import make_transient

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.errors import AdapterNotFound, InvalidRequest
from lora_manager_core.stacks.repository import Stacks
from lora_manager_core.stacks.resolving import ResolvedEntry, strongest

_NAMED_IDS = 100


@dataclass(frozen=True, slots=True)
class Chosen:
    """The adapters in their order, and the entries of a stack that are not here."""

    adapters: list[Adapter]
    missing: list[ResolvedEntry]


def choose(session: ReadSession, adapter_ids: Sequence[str] | None, stack_id: str | None) -> Chosen:
    """Those adapters in that order, or those of a stack; without either, the active set.

    The adapters of a stack have its weights and trigger groups, and belong to no session any more,
    so that nothing of that is ever stored.

    Raises:
        AdapterNotFound: ids are unknown (named in `unknown_ids`).
        StackNotFound: no such stack.
        InvalidRequest: both are given.
    """
    adapters = Adapters(session)
    if stack_id is not None:
        chosen = _of_stack(session, stack_id)
        if adapter_ids is not None:
            raise InvalidRequest("Give `adapter_ids` or `stack_id`, not both.")
        return chosen
    if adapter_ids is None:
        return Chosen(adapters.list_active(), [])
    found = adapters.get_many(adapter_ids)
    unknown = sorted(set(adapter_ids) - {adapter.id for adapter in found})
    if unknown:
        raise AdapterNotFound(
            f"{len(unknown)} of the adapters are unknown.", unknown_ids=unknown[:_NAMED_IDS]
        )
    return Chosen(found, [])


def _of_stack(session: ReadSession, stack_id: str) -> Chosen:
    stacks = Stacks(session)
    entries = stacks.entries([stacks.require(stack_id).id])[stack_id]
    adapters = []
    for one in strongest(entries):
        adapter = one.adapter
        if adapter is not None:
            make_transient(adapter)
            adapter.weight, adapter.weight_te = one.entry.weight, one.entry.weight_te
            adapter.chosen_groups = one.entry.trigger_groups
            adapters.append(adapter)
    return Chosen(adapters, [one for one in entries if one.problem is not None])
