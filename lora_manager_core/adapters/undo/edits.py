"""Edits of many records: what they change, and taking them back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import inspect

from lora_manager_core.adapters.undo.kinds import Since, TakeBack, require_unchanged
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import Adapter, UndoEntry
from lora_manager_core.db.unit_of_work import WriteSession

EDIT = "edit"

#: Columns that follow the others by themselves, or that two edits may both have touched.
_FOLLOWING = frozenset(("updated_at", "search_text", "edited_fields"))

#: Id, old values, new values, and what is new in `edited_fields`.
Change = tuple[str, Mapping[str, Any], Mapping[str, Any], Sequence[str]]


def change_of(adapter: Adapter) -> Change | None:
    """What was changed on a record since it was last stored; None if that is nothing."""
    committed: Mapping[str, Any] = inspect(adapter).committed_state
    old = {
        name: value
        for name, value in committed.items()
        if name not in _FOLLOWING and value != getattr(adapter, name)
    }
    edited = sorted(set(adapter.edited_fields) - set(committed.get("edited_fields", ())))
    if "edited_fields" not in committed:
        edited = []
    if not (old or edited):
        return None
    return adapter.id, old, {name: getattr(adapter, name) for name in old}, edited


class Edits:
    """An `UndoKind`: gives the fields that were changed their old values, and touches no others."""

    @contextmanager
    def taking_back(self, entry: UndoEntry) -> Iterator[TakeBack]:
        """See `UndoKind`."""
        changes: list[Change] = entry.before["records"]

        def _take_back(session: WriteSession, force: bool) -> list[str]:
            return _restore(session, changes, force)

        yield _take_back


def _restore(session: WriteSession, changes: Sequence[Change], force: bool) -> list[str]:
    adapters = AdapterWriter(session)
    found = {adapter.id: adapter for adapter in adapters.get_many([c[0] for c in changes])}
    since: list[Since] = []
    for adapter_id, _, new, _ in changes:
        adapter = found.get(adapter_id)
        if adapter is None:
            since.append(Since(adapter_id, "It was deleted."))
            continue
        differing = sorted(name for name in new if getattr(adapter, name) != new[name])
        if differing:
            since.append(Since(adapter_id, f"Changed since: {', '.join(differing)}.", adapter.name))
    require_unchanged(since, force)
    for adapter_id, old, _, edited in changes:
        adapter = found.get(adapter_id)
        if adapter is not None:
            for name, value in old.items():
                setattr(adapter, name, value)
            adapter.edited_fields = sorted(set(adapter.edited_fields) - set(edited))
    adapters.save_many(list(found.values()), any("tags" in old for _, old, _, _ in changes))
    return list(found)
