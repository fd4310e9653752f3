"""Rows that are written soon, from a thread, because whoever tells of them must not wait."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

_log = logging.getLogger(__name__)

_Item = TypeVar("_Item")

#: Items that wait to be written at most; more come together only while the database is away.
_MOST_WAITING = 1000


class WriteBehind(Generic[_Item]):
    """Gives what was added to `write`, in portions; the thread begins with the first of it.

    `write` opens a unit of work of its own. When the database cannot be written, items wait
    `pause_s` for another try.
    """

    def __init__(
        self, name: str, write: Callable[[list[_Item]], None], pause_s: float = 5.0
    ) -> None:
        self._name = name
        self._write = write
        self._pause_s = pause_s
        self._waiting: deque[_Item] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, item: _Item) -> None:
        """Have it written soon; returns at once. With too many waiting the oldest is lost."""
        with self._changed:
            self._waiting.append(item)
            if self._thread is None:
                self._closed = False
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until nothing waits to be written; False if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what waits and end the thread; the next `add` begins anew."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._closed = True
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                items, last_try = list(self._waiting), self._closed
                if not items:
                    return
            try:
                self._write(items)
            except SQLAlchemyError:
                _log.warning(
                    "%s: %d rows could not be recorded yet", self._name, len(items), exc_info=True
                )
                if last_try:
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, self._pause_s)
                continue
            with self._changed:
                for item in items:
                    if self._waiting and self._waiting[0] is item:
                        self._waiting.popleft()
                self._changed.notify_all()
