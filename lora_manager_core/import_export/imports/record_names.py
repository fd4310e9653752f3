"""Gives the records of a plan their names; where one is taken, the next that is free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lora_manager_core.common.lora_tokens import writable_name
from lora_manager_core.common.words import numbered_name
from lora_manager_core.import_export.imports.placing import stem_of
from lora_manager_core.import_export.imports.plan import ImportPlan, PlannedAdapter
from lora_manager_core.import_export.imports.repository import KnownRecord
from lora_manager_core.library.naming import record_name


def give_names(plan: ImportPlan, known: Sequence[KnownRecord], target: Path) -> None:
    """Settle `name` of every record that is made or changed; it is unique within its version.

    A record of a file of which the archive says no name is called as a scan would call it.
    """
    _Names(plan, known, target).give()


class _Names:
    def __init__(self, plan: ImportPlan, known: Sequence[KnownRecord], target: Path) -> None:
        self._plan = plan
        self._known = known
        self._target = target
        self._taken: dict[str, set[str]] = {}
        self._every: set[str] = set()

    def give(self) -> None:
        changed = [a for a in self._plan.adapters if a.known is not None and a.change]
        numbers = {a.known.pk for a in changed if a.known is not None}
        for record in self._known:
            if record.pk not in numbers:
                self._take(record.name, record.version_key)
        # What keeps its name comes before what gets another.
        for adapter in sorted(changed, key=lambda a: "name" in a.change or "version" in a.change):
            self._rename(adapter)
        for adapter in self._plan.adapters:
            if adapter.status == "created":
                self._name(adapter)

    def _rename(self, adapter: PlannedAdapter) -> None:
        assert adapter.known is not None
        version = adapter.change.get("version", adapter.known.version_key) or ""
        wanted = adapter.known.name
        if "name" in adapter.change:
            wanted = writable_name(adapter.change["name"])
        adapter.name = self._free(adapter, wanted, version)
        if adapter.name == adapter.known.name:
            adapter.change.pop("name", None)
        else:
            adapter.change["name"] = adapter.name

    def _name(self, adapter: PlannedAdapter) -> None:
        wanted = writable_name(adapter.name)
        if not wanted:
            wanted = record_name(stem_of(adapter.path.name), self._folder(adapter), self._every)
        adapter.name = self._free(adapter, wanted, adapter.change.get("version") or "")
        adapter.change["name"] = adapter.name

    def _free(self, adapter: PlannedAdapter, wanted: str, version: str) -> str:
        free = numbered_name(wanted, self._taken.setdefault(version, set()))
        if free != wanted:
            adapter.note = f"The name “{wanted}” is taken here."
        self._take(free, version)
        return free

    def _take(self, name: str, version: str) -> None:
        self._taken.setdefault(version, set()).add(name)
        self._every.add(name)

    def _folder(self, adapter: PlannedAdapter) -> str:
        parent = adapter.path.parent
        if not parent.is_relative_to(self._target) or parent == self._target:
            return ""
        return parent.relative_to(self._target).as_posix()
