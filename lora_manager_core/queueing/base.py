"""The queue as a port. A job is a row first (`queueing.store`); a queue carries only its id.

What a job does is a handler, registered by kind; `queueing.runner` runs it the same way for every
queue.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lora_manager_core.db.unit_of_work import WriteSession

GPU_LANE = "gpu"
LIBRARY_LANE = "library"
#: Apart from the others: a target that is slow to answer holds up neither pictures nor scans.
DELIVERY_LANE = "delivery"
#: Asks servers elsewhere about files, and mostly waits for them.
NETWORK_LANE = "network"
#: Work that nobody waits for: embeddings of texts and weights. It gives way to all the others.
EMBEDDING_LANE = "embedding"
#: Reads every file from end to end, for hours perhaps: neither scans nor embeddings wait for it.
HASHING_LANE = "hashing"
LANES = (GPU_LANE, LIBRARY_LANE, NETWORK_LANE, DELIVERY_LANE, EMBEDDING_LANE, HASHING_LANE)

PENDING = "pending"
RUNNING = "running"
RETRYING = "retrying"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
UNFINISHED = (PENDING, RUNNING, RETRYING)
ENDED = (SUCCEEDED, FAILED, CANCELLED)


class JobCancelled(Exception):
    """Raised inside a handler once its job is to stop."""


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is: `fraction` 0..1, and the step of how many, where it has steps.

    `preview` is an unfinished picture as a `data:` URL, for those who asked to see it.
    """

    fraction: float
    step: int | None = None
    steps: int | None = None
    eta_s: float | None = None
    message: str | None = None
    preview: str | None = None


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What a handler made: the JSON-serialisable `result` that is stored with the job.

    `store` writes further rows in the very unit of work that ends the job, so that both become true
    or neither; `undo` takes back what lies outside the database when the job ended otherwise:
    cancelled meanwhile, or failed in `store`. `done` is called once the job has succeeded, also if
    the database's answer to that was lost, for what `session.after_commit` would miss then.
    """

    result: Mapping[str, Any]
    store: Callable[[WriteSession], None] | None = None
    undo: Callable[[], None] | None = None
    done: Callable[[], None] | None = None


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

    def previews_wanted(self) -> bool:
        """Whether somebody looks: a preview costs time, and is made only then."""
        return False

    def raise_if_cancelled(self) -> None:
        """Raise `JobCancelled` if the job is to stop."""
        if self.is_cancelled():
            raise JobCancelled


#: A handler gives what it made; a mapping alone stands for an outcome with that result.
JobHandler = Callable[[JobContext], Mapping[str, Any] | JobOutcome]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One place where jobs are run: a thread here, or a process elsewhere."""

    name: str
    lanes: tuple[str, ...]
    busy: bool
    last_seen_at: str | None = None


class JobQueue(ABC):
    """Brings pending jobs to a runner. Implementations: `threads`; `rq` on Redis."""

    #: Whether jobs run in the process that queues them, with its own backends.
    runs_here = True

    @property
    def problem(self) -> str | None:
        """Why the queue cannot be reached now, for people; None while it can."""
        return None

    @abstractmethod
    def submit(self, lane: str, job_id: str) -> None:
        """Queue a pending job; called after the commit that made its row, and again by the keeper.

        A job that waits in the queue already is not queued twice. Never raises for a queue that
        cannot be reached: the row stays, and the keeper asks again.
        """

    def submit_all(self, due: Iterable[tuple[str, str]]) -> None:
        """Queue whatever is missing of all jobs that are due: lane and id, oldest first."""
        for lane, job_id in due:
            self.submit(lane, job_id)

    @abstractmethod
    def cancel(self, job_id: str) -> None:
        """Tell a job that runs to stop; the row already says so."""

    @abstractmethod
    def start(self) -> None:
        """Begin to work; safe to call twice."""

    @abstractmethod
    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop working: running jobs are asked to stop and waited for."""

    @abstractmethod
    def workers(self) -> list[WorkerInfo]:
        """Who works for this queue now; empty when nobody does or it cannot be reached."""
