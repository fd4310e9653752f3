"""The progress feed as a port: jobs publish events, sockets and waiters subscribe to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_manager_core.common.clock import utc_now

STARTED = "generation_started"
PROGRESS = "progress_update"
COMPLETE = "generation_complete"


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event of one job, in the envelope of the contract: `type`, `timestamp`, `data`."""

    type: str
    job_id: str
    data: Mapping[str, Any]
    timestamp: str = field(default_factory=utc_now)

    @property
    def is_end(self) -> bool:
        """Whether the job has ended with this event."""
        return self.type == COMPLETE

    def envelope(self) -> dict[str, Any]:
        """The event as it goes over the socket."""
        return {"type": self.type, "timestamp": self.timestamp, "data": dict(self.data)}


Listener = Callable[[FeedEvent], None]


class Feed(ABC):
    """Publish and subscribe.

    Listeners run on the thread that publishes, or on one of the feed's own; they must return at
    once and never raise. The data of an event is what JSON can say.
    """

    @abstractmethod
    def start(self) -> None:
        """Begin to hear other processes, where there may be any; may be repeated."""

    @abstractmethod
    def stop(self) -> None:
        """Tell the others what they still have to hear, and give everything back."""

    @abstractmethod
    def publish(self, event: FeedEvent) -> None:
        """Send an event to every listener and remember it as the job's last state."""

    @abstractmethod
    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; the function given back removes it."""

    @abstractmethod
    def last_events(self) -> list[FeedEvent]:
        """The last event of each job still remembered, oldest first."""

    @abstractmethod
    def want_previews(self, wanted: bool) -> None:
        """Say whether somebody at this process looks at unfinished pictures; no, to begin with."""

    @abstractmethod
    def previews_wanted(self) -> bool:
        """Whether somebody looks at unfinished pictures, at any process; cheap to ask."""
