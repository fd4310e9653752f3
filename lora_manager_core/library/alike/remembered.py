"""What was found out about the whole catalogue, until it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from lora_manager_core.db import counters
from lora_manager_core.db.unit_of_work import ReadSession

_Value = TypeVar("_Value")


class Remembered(Generic[_Value]):
    """Finds it out once for each revision of the catalogue; others wait meanwhile."""

    def __init__(self, find_out: Callable[[ReadSession], _Value]) -> None:
        self._find_out = find_out
        self._lock = threading.Lock()
        self._known: tuple[int, _Value] | None = None

    def of(self, session: ReadSession) -> _Value:
        """As of this unit of work."""
        with self._lock:
            revision = counters.read_counter(session, counters.ADAPTERS)
            if self._known is None or self._known[0] != revision:
                self._known = revision, self._find_out(session)
            return self._known[1]
