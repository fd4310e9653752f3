"""Keeps SD.Next's list of LoRA files and our catalogue in step, both ways.

Listing reads thousands of files in a large library and empties the host's dictionary meanwhile, so
it is done between pictures, bundled, and seldom enough to cost little. What the host lists anew by
itself (its refresh button, a name it did not know) has our library scanned.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from lora_manager_core.feed.base import FeedEvent
from lora_manager_core.library.telling import LIBRARY_CHANGED

#: How often the host's list is looked at, in seconds.
_LOOK_S = 1.0
#: Changes are bundled until there were none for so long, at most for so long, in seconds.
_QUIET_S = 2.0
_LONGEST_S = 30.0
#: Listing may take this part of the time at most, while many files come in.
_SHARE = 1 / 20


class HostLoras(Protocol):
    """What of the host is needed to list its LoRA files."""

    @property
    def queue_lock(self) -> threading.Lock: ...
    def lora_aliases(self) -> dict[str, Any]: ...
    def refresh_loras(self) -> None: ...


class HostLoraList:
    """`refresh` is for whoever finds the list behind; `start` gives it a thread of its own."""

    def __init__(
        self,
        host: HostLoras,
        log: logging.Logger,
        look_s: float = _LOOK_S,
        quiet_s: float = _QUIET_S,
    ) -> None:
        self._host = host
        self._look_s = look_s
        self._quiet_s = quiet_s
        self._log = log
        self._own_job = threading.local()
        self._lock = threading.Lock()
        self._first_at: float | None = None
        self._last_at = 0.0
        self._not_before = 0.0
        self._seen: Mark | None = None
        self._has_news = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def within_job(self) -> Iterator[None]:
        """Inside it this thread makes a picture: the list is the thread's own, and needed now."""
        self._own_job.active = True
        try:
            yield
        finally:
            self._own_job.active = False

    def refresh(self) -> None:
        """Have the list read anew: now, or soon where a picture is made or it was just done."""
        if getattr(self._own_job, "active", False):
            self._list()
        elif time.monotonic() < self._not_before or not self._list_between_jobs():
            self.request()

    def request(self) -> None:
        """Have the list read anew soon."""
        with self._lock:
            self._last_at = time.monotonic()
            self._first_at = self._first_at or self._last_at

    def hear(self, event: FeedEvent) -> None:
        """A listener of the feed: files of ours came, moved or went."""
        if event.type == LIBRARY_CHANGED and any(
            event.data[name] for name in ("added", "moved", "missing")
        ):
            self.request()

    def start(self, on_listed: Callable[[], None], on_news: Callable[[], None]) -> None:
        """Begin to look: `on_listed` after we had it read anew, `on_news` after the host had."""
        if self._thread is None:
            self._seen = _mark(self._host.lora_aliases())
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=self._run,
                args=(self._stopped, on_listed, on_news),
                name="lora-manager-list",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopped.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=5.0)

    def _run(
        self,
        stopped: threading.Event,
        on_listed: Callable[[], None],
        on_news: Callable[[], None],
    ) -> None:
        while not stopped.wait(self._look_s):
            try:
                self.look(on_listed, on_news)
            except Exception:  # noqa: BLE001 - the host's border: it goes on without us
                self._log.exception("LoRA Manager: the list of LoRA files was not looked at")

    def look(self, on_listed: Callable[[], None], on_news: Callable[[], None]) -> None:
        """One look; the thread does it every second."""
        now = time.monotonic()
        with self._lock:
            first_at, last_at = self._first_at, self._last_at
        if first_at is not None and now >= self._not_before:
            is_due = now - last_at >= self._quiet_s or now - first_at >= _LONGEST_S
            if is_due and self._list_between_jobs():
                on_listed()
            return
        mark = _mark(self._host.lora_aliases())
        is_new = self._has_news or (mark is not None and mark != self._seen)
        if is_new and not self._host.queue_lock.locked():
            self._has_news, self._seen = False, mark
            on_news()

    def _list_between_jobs(self) -> bool:
        """List unless a picture is being made; whether it was done."""
        if not self._host.queue_lock.acquire(blocking=False):
            return False
        try:
            self._list()
        finally:
            self._host.queue_lock.release()
        return True

    def _list(self) -> None:
        began = time.monotonic()
        with self._lock:
            self._first_at = None
        before = _mark(self._host.lora_aliases())
        if self._seen is not None and before is not None and before != self._seen:
            self._has_news = True  # the host listed by itself meanwhile, which ours would cover up
        self._host.refresh_loras()
        self._not_before = time.monotonic() + (time.monotonic() - began) / _SHARE
        self._seen = _mark(self._host.lora_aliases())


#: Number of entries, the first and the last: a listing makes new ones, so they tell two apart.
Mark = tuple[int, object, object]


def _mark(aliases: dict[str, Any]) -> Mark | None:
    """None while the list is being read, which begins by emptying it."""
    values = list(aliases.values())
    return (len(values), values[0], values[-1]) if values else None
