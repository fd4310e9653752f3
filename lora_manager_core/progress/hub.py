"""Brings the feed's events from worker threads to the sockets of this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from lora_manager_core.feed.base import Feed, FeedEvent
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.progress.messages import Message
from lora_manager_core.progress.outbox import Outbox


class Subscriber:
    """One socket's wishes: nothing, to begin with."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.previews = False
        #: None: all jobs, less those of `unwanted`.
        self.job_ids: frozenset[str] | None = frozenset()
        self.unwanted: frozenset[str] = frozenset()

    def wants(self, message: Message) -> bool:
        """Whether this message is to be sent."""
        if self.job_ids is None:
            return message.job_id not in self.unwanted
        return message.job_id in self.job_ids


class SocketHub:
    """One subscription to the feed, however many sockets there are.

    The feed calls on any thread; all else happens on the event loop, in one order: so a socket that
    subscribes gets each job's last state and then what follows it, nothing twice and nothing older.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._subscribers: set[Subscriber] = set()
        self._unsubscribe: Callable[[], None] | None = None
        #: What the loop has come to know, and the messages made of it.
        self._known = MemoryFeed()
        self._messages: dict[str, Message] = {}
        self._previews = False

    def join(self) -> Subscriber:
        """Add a socket; call from the event loop."""
        if self._unsubscribe is None:
            self._listen(asyncio.get_running_loop())
        subscriber = Subscriber()
        self._subscribers.add(subscriber)
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Remove a socket."""
        self._subscribers.discard(subscriber)
        self._tell_previews()
        if not self._subscribers and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def subscribe(
        self, subscriber: Subscriber, job_ids: frozenset[str] | None, previews: bool
    ) -> None:
        """Send a socket what it wants from now on, beginning with each job's last state."""
        subscriber.job_ids, subscriber.unwanted = job_ids, frozenset()
        subscriber.previews = previews
        subscriber.outbox.keep(subscriber.wants)
        self._tell_previews()
        for message in self._last_messages():
            if subscriber.wants(message):
                subscriber.outbox.put(message)

    def unsubscribe(self, subscriber: Subscriber, job_ids: frozenset[str] | None) -> None:
        """Send a socket nothing more of these jobs (None: of any)."""
        if job_ids is None:
            subscriber.job_ids = frozenset()
        elif subscriber.job_ids is None:
            subscriber.unwanted |= job_ids
        else:
            subscriber.job_ids -= job_ids
        subscriber.outbox.keep(subscriber.wants)
        self._tell_previews()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        known = self._known = MemoryFeed()

        def _from_thread(event: FeedEvent) -> None:
            # A loop that is closed already has no sockets left to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._deliver, known, event)

        self._unsubscribe = self._feed.subscribe(_from_thread)
        for event in self._feed.last_events():
            known.publish(event)

    def _deliver(self, known: MemoryFeed, event: FeedEvent) -> None:
        if known is not self._known or not known.offer(event):
            return
        message = Message(event)
        for subscriber in self._subscribers:
            if subscriber.wants(message):
                subscriber.outbox.put(message)

    def _last_messages(self) -> list[Message]:
        """The last states as messages, the same ones as long as nothing new is known."""
        before, self._messages = self._messages, {}
        for event in self._known.last_events():
            message = before.get(event.job_id)
            if message is None or message.event is not event:
                message = Message(event)
            self._messages[event.job_id] = message
        return list(self._messages.values())

    def _tell_previews(self) -> None:
        wanted = any(s.previews and s.job_ids != frozenset() for s in self._subscribers)
        if wanted != self._previews:
            self._previews = wanted
            self._feed.want_previews(wanted)
