"""A listener that keeps what it hears and can be waited on."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lora_manager_core.feed.base import FeedEvent


class Recorder:
    """Subscribe it to a feed: `events` holds what came, in order."""

    def __init__(self) -> None:
        self.events: list[FeedEvent] = []
        self._changed = threading.Condition()

    def __call__(self, event: FeedEvent) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def of(self, job_id: str) -> list[FeedEvent]:
        """The events of one job."""
        return [event for event in self.events if event.job_id == job_id]

    def wait_for(self, wanted: Callable[[FeedEvent], bool], timeout_s: float = 20.0) -> None:
        """Block until such an event has come; fails the test if none does."""
        with self._changed:
            came = self._changed.wait_for(lambda: any(map(wanted, self.events)), timeout_s)
        assert came, f"waited {timeout_s} s; came: {self.events}"

    def wait_for_end(self, job_id: str, timeout_s: float = 20.0) -> None:
        """Block until the job's end was told."""
        self.wait_for(lambda event: event.job_id == job_id and event.is_end, timeout_s)
