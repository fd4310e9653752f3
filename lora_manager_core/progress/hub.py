"""Brings the feed's events from worker threads to the sockets of this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from lora_manager_core.feed.base import Feed, FeedEvent
from lora_manager_core.progress.outbox import Outbox


class Subscriber:
    """One socket's wishes; `job_ids` None means all jobs, and nothing is sent before `wants`."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.subscribed = False
        self.job_ids: frozenset[str] | None = None

    def wants(self, event: FeedEvent) -> bool:
        """Whether this event is to be sent."""
        return self.subscribed and (self.job_ids is None or event.job_id in self.job_ids)


class SocketHub:
    """One subscription to the feed, however many sockets there are."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._subscribers: set[Subscriber] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def join(self) -> Subscriber:
        """Add a socket; call from the event loop."""
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        if self._unsubscribe is None:
            self._loop = asyncio.get_running_loop()
            self._unsubscribe = self._feed.subscribe(self._from_thread)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a socket."""
        self._subscribers.discard(subscriber)
        if not self._subscribers and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = self._loop = None

    def subscribe(self, subscriber: Subscriber, job_ids: frozenset[str] | None) -> None:
        """Send a socket what it wants from now on, beginning with each job's last state."""
        subscriber.subscribed, subscriber.job_ids = True, job_ids
        for event in self._feed.last_events():
            if subscriber.wants(event):
                subscriber.outbox.put(event)

    def _from_thread(self, event: FeedEvent) -> None:
        loop = self._loop
        if loop is not None:
            # A loop that is closed already has no sockets left to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._deliver, event)

    def _deliver(self, event: FeedEvent) -> None:
        for subscriber in self._subscribers:
            if subscriber.wants(event):
                subscriber.outbox.put(event)
