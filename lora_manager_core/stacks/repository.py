"""The queries on stacks. Nothing here commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, select

from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.words import word_key
from lora_manager_core.db.models import Stack, StackedAdapter
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession
from lora_manager_core.errors import StackNotFound
from lora_manager_core.stacks.resolving import ResolvedEntry, resolve

#: Room for a number behind a name.
_LONGEST_NAME = 190


class Stacks:
    """The stacks for reading."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def count(self, search: str = "") -> int:
        """How many stacks have that in their names."""
        query = select(func.count()).select_from(Stack)
        return int(self._session.scalar(query.where(_named(search))) or 0)

    def page(self, search: str, limit: int, offset: int) -> list[Stack]:
        """Some of the stacks that have that in their names, by name."""
        query = select(Stack).where(_named(search)).order_by(Stack.name_key)
        return list(self._session.scalars(query.limit(limit).offset(offset)))

    def require(self, stack_id: str) -> Stack:
        """The stack of that id; raises `StackNotFound`."""
        stack = self._session.get(Stack, stack_id)
        if stack is None:
            raise StackNotFound(f"There is no stack {stack_id}.")
        return stack

    def find_by_name(self, name: str) -> Stack | None:
        """The stack of that name, whatever its case."""
        return self._session.scalars(select(Stack).where(Stack.name_key == word_key(name))).first()

    def free_name(self, name: str) -> str:
        """`name` with the first number behind it that makes it nobody's yet."""
        number = 2
        while self.find_by_name(f"{name[:_LONGEST_NAME]} {number}") is not None:
            number += 1
        return f"{name[:_LONGEST_NAME]} {number}"

    def entries(self, stack_ids: Sequence[str]) -> dict[str, list[ResolvedEntry]]:
        """The entries of stacks, in order, with their adapters."""
        query = (
            select(StackedAdapter)
            .where(StackedAdapter.stack_id.in_(stack_ids))
            .order_by(StackedAdapter.stack_id, StackedAdapter.position)
        )
        found: dict[str, list[ResolvedEntry]] = {stack_id: [] for stack_id in stack_ids}
        for resolved in resolve(self._session, list(self._session.scalars(query))):
            found[resolved.entry.stack_id].append(resolved)
        return found


class StackWriter(Stacks):
    """The stacks for writing."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._session: WriteSession = session

    def save(self, stack: Stack) -> None:
        """Store a new or changed stack."""
        stack.name_key = word_key(stack.name)
        stack.updated_at = utc_now()
        self._session.add(stack)
        self._session.flush()

    def remove(self, stack: Stack) -> None:
        """Delete a stack with its entries."""
        self._session.delete(stack)
        self._session.flush()

    def write_entries(self, stack_id: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Give a stack these entries, in this order, in place of what it had."""
        self._session.execute(
            delete(StackedAdapter)
            .where(StackedAdapter.stack_id == stack_id)
            .execution_options(synchronize_session="fetch")
        )
        for position, entry in enumerate(entries):
            self._session.add(StackedAdapter(stack_id=stack_id, position=position, **entry))
        self._session.flush()


def _named(search: str) -> Any:
    return Stack.name_key.contains(word_key(search), autoescape=True)
