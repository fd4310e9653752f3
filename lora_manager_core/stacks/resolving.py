"""Which adapters here the entries of stacks are, and why not where none is.

By id, then by SHA-256, AutoV2, and name with version. A name alone proves little: where both sides
know the contents of their files and they differ, it is another adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.db.models import Adapter, StackedAdapter
from lora_manager_core.db.unit_of_work import ReadSession

_ABSENT = (
    "No adapter here has its file, or its name and version; add the file and scan the library."
)
_OTHER_FILE = "An adapter of its name is here, but its file has other contents."
_MISSING = "Its file is missing; put it back or scan the library again."


@dataclass(frozen=True, slots=True)
class ResolvedEntry:
    """An entry with its adapter; `problem` says why it cannot be applied, None where it can."""

    entry: StackedAdapter
    adapter: Adapter | None
    problem: str | None

    def content(self) -> dict[str, Any]:
        """By what it is known: as its adapter says now, where that is here."""
        if self.adapter is not None:
            return identity(self.adapter)
        entry = self.entry
        return {name: getattr(entry, name) for name in _IDENTITY}


_IDENTITY = ("name", "version", "file_name", "file_sha256", "autov2", "base_model")


def identity(adapter: Adapter) -> dict[str, Any]:
    """By what an adapter is known elsewhere: the columns of an entry."""
    return {
        "name": adapter.name,
        "version": adapter.version,
        "file_name": adapter.primary_file_name,
        "file_sha256": adapter.primary_file_sha256,
        "autov2": adapter.autov2,
        "base_model": adapter.base_model,
    }


def resolve(session: ReadSession, entries: Sequence[StackedAdapter]) -> list[ResolvedEntry]:
    """Each entry with its adapter."""
    ids = [entry.adapter_id for entry in entries if entry.adapter_id]
    by_id = {adapter.id: adapter for adapter in Adapters(session).get_many(ids)}
    lost = [entry for entry in entries if entry.adapter_id not in by_id]
    found = _Found(session, lost) if lost else None
    resolved = []
    for entry in entries:
        adapter = by_id.get(entry.adapter_id or "")
        problem = None
        if adapter is None and found is not None:
            adapter, problem = found.adapter_of(entry)
        if adapter is not None and adapter.file_state == "missing":
            problem = _MISSING
        resolved.append(ResolvedEntry(entry, adapter, problem))
    return resolved


def strongest(entries: Sequence[ResolvedEntry]) -> list[ResolvedEntry]:
    """Those that can be applied; of several for one adapter, the one with the highest weight."""
    chosen: dict[str, ResolvedEntry] = {}
    for one in entries:
        if one.adapter is not None and one.problem is None:
            before = chosen.get(one.adapter.id)
            if before is None or one.entry.weight > before.entry.weight:
                chosen[one.adapter.id] = one
    return list(chosen.values())


class _Found:
    """The adapters that entries without one may be."""

    def __init__(self, session: ReadSession, entries: Sequence[StackedAdapter]) -> None:
        self._session = session
        self._by_sha = self._all(
            Adapter.primary_file_sha256,
            (_key(entry.file_sha256) for entry in entries),
            lambda adapter: adapter.primary_file_sha256,
        )
        rest = [entry for entry in entries if _key(entry.file_sha256) not in self._by_sha]
        self._by_autov2 = self._all(
            Adapter.autov2, (_autov2(entry) for entry in rest), lambda adapter: adapter.autov2
        )
        self._by_name = self._all(
            Adapter.name, (entry.name for entry in rest), lambda adapter: adapter.name
        )

    def adapter_of(self, entry: StackedAdapter) -> tuple[Adapter | None, str | None]:
        """The adapter, or why there is none."""
        same = self._by_sha.get(_key(entry.file_sha256)) or self._by_autov2.get(_autov2(entry))
        if same:
            return min(same, key=lambda adapter: _unlike(adapter, entry)), None
        version = entry.version or ""
        for adapter in self._by_name.get(entry.name, ()):
            if adapter.version_key == version:
                theirs, ours = _autov2(entry), (adapter.autov2 or "").lower()
                if theirs and ours and theirs != ours:
                    return None, _OTHER_FILE
                return adapter, None
        return None, _ABSENT

    def _all(
        self, column: Any, values: Iterable[str], key: Callable[[Adapter], str | None]
    ) -> Mapping[str, list[Adapter]]:
        wanted = {value for value in values if value}
        found: dict[str, list[Adapter]] = {}
        if wanted:
            query = select(Adapter).where(column.in_(wanted)).order_by(Adapter.pk)
            for adapter in self._session.scalars(query):
                found.setdefault(key(adapter) or "", []).append(adapter)
        return found


def _unlike(adapter: Adapter, entry: StackedAdapter) -> tuple[bool, bool, bool]:
    """Of several adapters of one file: the one that is there, and is called the same, first."""
    same_version = adapter.version_key == (entry.version or "")
    return (adapter.file_state == "missing", adapter.name != entry.name, not same_version)


def _key(value: str | None) -> str:
    return (value or "").lower()


def _autov2(entry: StackedAdapter) -> str:
    """The first ten digits of the SHA-256, as AutoV2 is made."""
    return _key(entry.autov2 or (entry.file_sha256 or "")[:10])
