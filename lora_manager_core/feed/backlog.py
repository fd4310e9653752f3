"""What still has to be told to somebody slow: newest progress wins, an end is never lost."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

from lora_manager_core.feed.base import COMPLETE, PROGRESS


class Told(Protocol):
    """An event, or something made of one."""

    @property
    def job_id(self) -> str:
        """The job it is about."""

    @property
    def type(self) -> str:
        """Start, progress or end."""


T = TypeVar("T", bound=Told)


class Backlog(Generic[T]):
    """Waiting events in order, one of each kind for each job.

    Beyond `most` the oldest that are no ends go. Ends stay: there is one for each job. Not locked.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: OrderedDict[tuple[str, str], T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, event: T) -> None:
        """Add an event; it takes the place of one of its kind that its job still has waiting."""
        if event.type == COMPLETE:
            self._waiting.pop((event.job_id, PROGRESS), None)
        self._waiting[event.job_id, event.type] = event
        if len(self._waiting) > self._most:
            self._drop_oldest()

    def take(self) -> T:
        """The one that waits longest; raises KeyError when none does."""
        return self._waiting.popitem(last=False)[1]

    def take_all(self) -> list[T]:
        """All of them, in order."""
        events = list(self._waiting.values())
        self._waiting.clear()
        return events

    def _drop_oldest(self) -> None:
        for key in self._waiting:
            if key[1] != COMPLETE:
                del self._waiting[key]
                return
