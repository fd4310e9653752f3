"""What one socket still has to be told: bounded, newest progress wins, an end is never lost."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from lora_manager_core.feed.base import COMPLETE, PROGRESS, FeedEvent

#: Events that may wait for one slow reader; beyond it the oldest progress goes first.
_MOST_WAITING = 1000


class Outbox:
    """The waiting messages of one socket; lives on the event loop."""

    def __init__(self) -> None:
        self._events: OrderedDict[tuple[str, str], FeedEvent] = OrderedDict()
        self._filled = asyncio.Event()

    def put(self, event: FeedEvent) -> None:
        """Add an event; it takes the place of one of its kind that its job still has waiting."""
        if event.type == COMPLETE:
            self._events.pop((event.job_id, PROGRESS), None)
        self._events[event.job_id, event.type] = event
        if len(self._events) > _MOST_WAITING:
            self._drop_oldest_progress()
        self._filled.set()

    async def take(self) -> list[FeedEvent]:
        """Wait for events and take all of them, in order."""
        await self._filled.wait()
        self._filled.clear()
        events = list(self._events.values())
        self._events.clear()
        return events

    def _drop_oldest_progress(self) -> None:
        for key in self._events:
            if key[1] != COMPLETE:
                del self._events[key]
                return
