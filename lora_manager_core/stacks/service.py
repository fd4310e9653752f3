"""What a person does with stacks: keep the active set, change it, apply it, share it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any

from lora_manager_core.adapters.active_set import ActiveAdapter, ActiveSetService
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.words import distinct_words
from lora_manager_core.db.models import Adapter, Stack
from lora_manager_core.db.unit_of_work import Database, ReadSession, WriteSession
from lora_manager_core.errors import AdapterNotFound, InvalidRequest, NameTaken, Unprocessable
from lora_manager_core.stacks.repository import Stacks, StackWriter
from lora_manager_core.stacks.resolving import ResolvedEntry, identity, strongest
from lora_manager_core.stacks.schemas import (
    FORMAT,
    SharedEntry,
    StackCreate,
    StackEntryRequest,
    StackImport,
    StacksQuery,
    StackUpdate,
)

_LONGEST_TEXT = 50_000


class StackService:
    """The stacks as people use them."""

    def __init__(self, database: Database, active_set: ActiveSetService) -> None:
        self._database = database
        self._active_set = active_set

    def browse(self, asked: StacksQuery) -> dict[str, Any]:
        """One page of stacks with their entries."""
        with self._database.read() as session:
            stacks = Stacks(session)
            filtered = stacks.count(asked.search)
            shown = stacks.page(asked.search, asked.per_page, (asked.page - 1) * asked.per_page)
            entries = stacks.entries([stack.id for stack in shown])
            return {
                "items": [_record(stack, entries[stack.id]) for stack in shown],
                "total": stacks.count(),
                "filtered": filtered,
                "page": asked.page,
                "pages": math.ceil(filtered / asked.per_page),
                "per_page": asked.per_page,
            }

    def get(self, stack_id: str) -> dict[str, Any]:
        """One stack; raises `StackNotFound`."""
        with self._database.read() as session:
            return _shown(session, stack_id)

    def create(self, request: StackCreate) -> dict[str, Any]:
        """Make a stack of the entries given, or of the active set.

        Raises:
            NameTaken: another one has that name.
            AdapterNotFound: ids are unknown (named in `unknown_ids`).
            Unprocessable: an adapter is in it twice, or an entry is a position of nothing.
            InvalidRequest: nothing is active.
        """
        with self._database.write() as session:
            if request.entries is not None:
                entries = _entries(session, request.entries, ())
            else:
                active = Adapters(session).list_active()
                if not active:
                    raise InvalidRequest(
                        "Nothing is active, so there is nothing to save; activate adapters first."
                    )
                entries = [_of_adapter(adapter) for adapter in active]
            return self._add(session, request.name, request.description, entries)

    def save_set(self, name: str, description: str, weights: Sequence[tuple[str, float]]) -> str:
        """Make a stack of adapters, by id with their weights; gives its id. Raises as `create`."""
        asked = [StackEntryRequest(adapter_id=i, weight=weight) for i, weight in weights]
        request = StackCreate(name=name, description=description[:_LONGEST_TEXT], entries=asked)
        return str(self.create(request)["id"])

    def update(self, stack_id: str, request: StackUpdate) -> dict[str, Any]:
        """Change name, description, or entries and their order.

        Raises:
            StackNotFound: no such stack.
            InvalidRequest: nothing to change, or a null that may not be.
            NameTaken, AdapterNotFound, Unprocessable: as `create`.
        """
        given = request.model_fields_set
        if not given:
            raise InvalidRequest("The change is empty; send at least one field.")
        if request.name is None and "name" in given:
            raise InvalidRequest("A stack needs a name.")
        if request.entries is None and "entries" in given:
            raise InvalidRequest("`entries` is a list; send an empty one to empty the stack.")
        with self._database.write() as session:
            stacks = StackWriter(session)
            stack = stacks.require(stack_id)
            if request.name is not None:
                _require_free(stacks, request.name, stack)
                stack.name = request.name
            if "description" in given:
                stack.description = request.description
            if request.entries is not None:
                present = stacks.entries([stack_id])[stack_id]
                stacks.write_entries(stack_id, _entries(session, request.entries, present))
            stacks.save(stack)
            return _shown(session, stack_id)

    def delete(self, stack_id: str) -> None:
        """Delete a stack; its adapters stay."""
        with self._database.write() as session:
            stacks = StackWriter(session)
            stacks.remove(stacks.require(stack_id))

    def apply(self, stack_id: str, add: bool) -> dict[str, Any]:
        """Make a stack the active set, or add it to that, with its weights; all in one.

        What is not here is left out and reported.

        Raises:
            StackNotFound: no such stack.
            InvalidRequest: nothing of it is here; nothing was changed.
        """
        with self._database.write() as session:
            entries = Stacks(session).entries([stack_id])[Stacks(session).require(stack_id).id]
            here = strongest(entries)
            if not here:
                raise InvalidRequest(
                    "None of the adapters of this stack is here, so the active set stays as it is."
                )
            self._active_set.put(
                session,
                [
                    ActiveAdapter(
                        one.adapter, one.entry.weight, one.entry.weight_te, one.entry.trigger_groups
                    )
                    for one in here
                    if one.adapter is not None
                ],
                add,
            )
            return {
                "stack_id": stack_id,
                "mode": "add" if add else "replace",
                "applied": [_entry_record(one) for one in here],
                "missing": [_entry_record(one) for one in entries if one.problem],
            }

    def share(self, stack_id: str) -> dict[str, Any]:
        """A stack as one document for others; raises `StackNotFound`."""
        with self._database.read() as session:
            stack = Stacks(session).require(stack_id)
            entries = Stacks(session).entries([stack_id])[stack_id]
            return {
                "format": FORMAT,
                "version": 1,
                "name": stack.name,
                "description": stack.description,
                "entries": [_shared(one) for one in entries],
            }

    def take_in(self, request: StackImport) -> dict[str, Any]:
        """Add a stack that somebody shared; what is not here is kept and says why.

        Raises:
            NameTaken: a stack of that name is here and nothing else was asked for.
        """
        shared = request.stack
        entries = [_unshared(entry) for entry in shared.entries]
        with self._database.write() as session:
            stacks = StackWriter(session)
            name, other = shared.name, stacks.find_by_name(shared.name)
            if other is not None and request.if_exists == "rename":
                name = stacks.free_name(name)
            elif other is not None and request.if_exists == "replace":
                stacks.remove(other)
            return self._add(session, name, shared.description, entries)

    def _add(
        self,
        session: WriteSession,
        name: str,
        description: str | None,
        entries: Sequence[dict[str, Any]],
    ) -> dict[str, Any]:
        stacks = StackWriter(session)
        _require_free(stacks, name)
        now = utc_now()
        stack = Stack(id=str(uuid.uuid4()), name=name, description=description, created_at=now)
        stacks.save(stack)
        stacks.write_entries(stack.id, entries)
        # From now on an entry is the adapter that it was found to be, whatever that is called.
        for one in stacks.entries([stack.id])[stack.id]:
            if one.adapter is not None:
                one.entry.adapter_id = one.adapter.id
        session.flush()
        return _shown(session, stack.id)


def _entries(
    session: ReadSession, asked: Sequence[StackEntryRequest], present: Sequence[ResolvedEntry]
) -> list[dict[str, Any]]:
    """The rows of the entries that were asked for."""
    adapter_ids = [entry.adapter_id for entry in asked if entry.adapter_id is not None]
    known = {adapter.id: adapter for adapter in Adapters(session).get_many(adapter_ids)}
    unknown = sorted(set(adapter_ids) - set(known))
    if unknown:
        raise AdapterNotFound(
            f"{len(unknown)} of the adapters are unknown; nothing was changed.",
            unknown_ids=unknown[:100],
        )
    rows, used = [], set()
    for entry in asked:
        if entry.adapter_id is not None:
            row = _of_adapter(known[entry.adapter_id])
        elif entry.position is not None and entry.position < len(present):
            row = _of_entry(present[entry.position])
        else:
            raise Unprocessable(
                f"The stack has no entry at {entry.position}; positions are those it has now."
            )
        mark = row["adapter_id"] or (entry.position,)
        if mark in used:
            raise Unprocessable(f"“{row['name']}” is in the stack twice; leave one of them out.")
        used.add(mark)
        if entry.weight is not None:
            row["weight"] = entry.weight
        if "weight_te" in entry.model_fields_set:
            row["weight_te"] = entry.weight_te
        if entry.trigger_groups is not None:
            row["trigger_groups"] = distinct_words(entry.trigger_groups)
        rows.append(row)
    return rows


def _of_adapter(adapter: Adapter) -> dict[str, Any]:
    return {
        **identity(adapter),
        "adapter_id": adapter.id,
        "weight": adapter.weight,
        "weight_te": adapter.weight_te,
        "trigger_groups": adapter.chosen_groups,
    }


def _of_entry(one: ResolvedEntry) -> dict[str, Any]:
    return {
        **one.content(),
        "adapter_id": one.adapter.id if one.adapter is not None else None,
        "weight": one.entry.weight,
        "weight_te": one.entry.weight_te,
        "trigger_groups": one.entry.trigger_groups,
    }


def _shared(one: ResolvedEntry) -> dict[str, Any]:
    row = _of_entry(one)
    del row["adapter_id"]
    return {"sha256": row.pop("file_sha256"), **row}


def _unshared(entry: SharedEntry) -> dict[str, Any]:
    row = entry.model_dump()
    sha256, autov2 = row.pop("sha256"), row["autov2"]
    row["file_sha256"] = sha256.lower() if sha256 else None
    row["autov2"] = (autov2 or (sha256 or "")[:10]).lower() or None
    return row


def _require_free(stacks: Stacks, name: str, mine: Stack | None = None) -> None:
    other = stacks.find_by_name(name)
    if other is not None and other is not mine:
        raise NameTaken(f"There is already a stack named “{other.name}”; choose another name.")


def _shown(session: ReadSession, stack_id: str) -> dict[str, Any]:
    stacks = Stacks(session)
    stack = stacks.require(stack_id)
    return _record(stack, stacks.entries([stack_id])[stack_id])


def _record(stack: Stack, entries: Sequence[ResolvedEntry]) -> dict[str, Any]:
    return {
        "id": stack.id,
        "name": stack.name,
        "description": stack.description,
        "created_at": stack.created_at,
        "updated_at": stack.updated_at,
        "missing_count": sum(one.problem is not None for one in entries),
        "entries": [_entry_record(one) for one in entries],
    }


def _entry_record(one: ResolvedEntry) -> dict[str, Any]:
    return {
        "position": one.entry.position,
        "adapter_id": one.adapter.id if one.adapter is not None else None,
        **_shared(one),
        "is_here": one.problem is None,
        "problem": one.problem,
    }
