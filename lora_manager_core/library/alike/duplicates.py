"""Duplicates by whichever way is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lora_manager_core.errors import InvalidRequest
from lora_manager_core.library.alike.schemas import DuplicatesQuery

#: The kinds of groups that each way finds.
_KINDS = {"hash": ("equal", "moved"), "weights": ("near_duplicate", "lineage")}


class DuplicateFinder(Protocol):
    """One way to find duplicates."""

    def browse(self, asked: DuplicatesQuery) -> Any:
        """A page of groups: a `DuplicatesAnswer`, or what becomes one."""


class DuplicatesService:
    """The ways by their names in queries."""

    def __init__(self, finders: Mapping[str, DuplicateFinder]) -> None:
        self._finders = finders

    def browse(self, asked: DuplicatesQuery) -> Any:
        """A page of groups.

        Raises:
            InvalidRequest: that way finds no such kind.
        """
        kinds = _KINDS[asked.by]
        if asked.kind is not None and asked.kind not in kinds:
            raise InvalidRequest(
                f"`by={asked.by}` finds {' and '.join(kinds)}, not {asked.kind}; ask the other way."
            )
        return self._finders[asked.by].browse(asked)
