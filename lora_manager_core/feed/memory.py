"""The feed within one process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from lora_manager_core.feed.base import STARTED, Feed, FeedEvent, Listener

#: Ended jobs whose last event is still told to a late subscriber.
REMEMBERED = 200


class MemoryFeed(Feed):
    """Keeps listeners and the last event per job in memory.

    Per job the events are put in order here: progress never falls, nothing follows the end, and a
    second start or end is dropped, as is the very event that was the last.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a listener may unsubscribe within its call
        self._listeners: list[Listener] = []
        self._last: OrderedDict[str, FeedEvent] = OrderedDict()
        self._previews_wanted = False

    def start(self) -> None:
        """Nothing to begin: there is one process."""

    def stop(self) -> None:
        """Nothing to give back."""

    def publish(self, event: FeedEvent) -> None:
        """Send the event on unless it would break the order of its job."""
        self.offer(event)

    def offer(self, event: FeedEvent) -> bool:
        """The same, saying whether it was sent on."""
        with self._lock:
            if not self._follows(event):
                return False
            self._last[event.job_id] = event
            self._last.move_to_end(event.job_id)
            self._forget()
            # Under the lock, so that two threads cannot deliver one job's events out of order.
            for listener in tuple(self._listeners):
                listener(event)
            return True

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; call what comes back to remove it."""
        with self._lock:
            self._listeners.append(listener)

        def _unsubscribe() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return _unsubscribe

    def last_events(self) -> list[FeedEvent]:
        """The last event of each job, oldest first."""
        with self._lock:
            return list(self._last.values())

    def want_previews(self, wanted: bool) -> None:
        """Remember it."""
        self._previews_wanted = wanted

    def previews_wanted(self) -> bool:
        """What was said last."""
        return self._previews_wanted

    def _follows(self, event: FeedEvent) -> bool:
        last = self._last.get(event.job_id)
        if last is None:
            return True
        if last.is_end or event.type == STARTED:  # a job tried again has started already
            return False
        if event == last:
            return False
        before, now = last.data.get("progress"), event.data.get("progress")
        if before is not None and now is not None and not event.is_end:
            return bool(now >= before)
        return True

    def _forget(self) -> None:
        excess = len(self._last) - REMEMBERED
        if excess <= 0:
            return
        for job_id in [job_id for job_id, event in self._last.items() if event.is_end][:excess]:
            del self._last[job_id]
