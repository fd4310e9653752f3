"""The queue as a port. A job is a row first (`queueing.store`); a queue carries only its id.

What a job does is a handler, registered by kind; `queueing.runner` runs it the same way for every
queue.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

GPU_LANE = "gpu"
LIBRARY_LANE = "library"

PENDING = "pending"
RUNNING = "running"
RETRYING = "retrying"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
ENDED = (SUCCEEDED, FAILED, CANCELLED)


class JobCancelled(Exception):
    """Raised inside a handler once its job is to stop."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is: `fraction` 0..1, and the step of how many, where it has steps."""

    fraction: float
    step: int | None = None
    steps: int | None = None
    eta_s: float | None = None
    message: str | None = None


class JobContext(ABC):
    """What a running handler is given: its input, and the way to report and to be stopped."""

    job_id: str
    payload: Mapping[str, Any]

    @abstractmethod
    def report(self, progress: JobProgress) -> None:
        """Tell the feed and, now and then, the row how far the job is."""

    @abstractmethod
    def is_cancelled(self) -> bool:
        """Whether the job is to stop."""

    def raise_if_cancelled(self) -> None:
        """Raise `JobCancelled` if the job is to stop."""
        if self.is_cancelled():
            raise JobCancelled


#: A handler gives the result that is stored with the job, JSON-serialisable.
JobHandler = Callable[[JobContext], Mapping[str, Any]]


class JobQueue(ABC):
    """Brings pending jobs to a runner. Implementations: `threads`; an RQ one on Redis."""

    @abstractmethod
    def submit(self, lane: str, job_id: str) -> None:
        """Queue a pending job; called after the commit that made its row."""

    @abstractmethod
    def cancel(self, job_id: str) -> None:
        """Tell a job that runs to stop; the row already says so."""

    @abstractmethod
    def start(self) -> None:
        """Begin to work; safe to call twice."""

    @abstractmethod
    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop working: running jobs are asked to stop and waited for."""
