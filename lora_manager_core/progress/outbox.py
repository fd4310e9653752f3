"""What one socket still has to be told: bounded, newest progress wins, an end is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lora_manager_core.feed.backlog import Backlog
from lora_manager_core.progress.messages import Message

#: Messages that may wait for one slow reader; beyond it the oldest progress goes first.
_MOST_WAITING = 1000


class Outbox:
    """The waiting messages of one socket and its one sender; lives on the event loop."""

    def __init__(self) -> None:
        self._backlog: Backlog[Message] = Backlog(_MOST_WAITING)
        # A bare future: `asyncio.Event` would cost each message a tenth more.
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Message) -> None:
        """Add a message; it takes the place of one of its kind that its job still has waiting."""
        self._backlog.put(message)
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def keep(self, wanted: Callable[[Message], bool]) -> None:
        """Forget the others."""
        for message in filter(wanted, self._backlog.take_all()):
            self._backlog.put(message)

    async def take(self) -> Message:
        """Wait for the oldest; what stays can still give way to something newer."""
        while not self._backlog:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._backlog.take()
