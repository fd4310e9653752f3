"""What the kinds of embeddings have in common as jobs, and how far such a job is in words."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.errors import LoraManagerError
from lora_manager_core.queueing.base import JobContext, JobProgress

#: Problems of single adapters that a job's result tells; the rows have them all.
_MOST_ERRORS = 100


@dataclass(frozen=True, slots=True)
class VectorOrder:
    """What one job is to do, as its payload says it. `adapter_ids` None: whatever is due.

    With `force`, also what is current or has failed. `batch_size` None: as the job likes.
    """

    adapter_ids: Sequence[str] | None = None
    force: bool = False
    batch_size: int | None = None

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> VectorOrder:
        """The order in a job's payload."""
        return cls(**payload)

    def payload(self) -> dict[str, Any]:
        """This order as a payload."""
        return asdict(self)


@dataclass(slots=True)
class VectorReport:
    """The result of one job: numbers of adapters, and the first hundred problems.

    `failed` are those that a problem was noted for; they count as computed too. `skipped` were
    asked for and had nothing to do.
    """

    computed: int = 0
    skipped: int = 0
    failed: int = 0
    duration_s: float = 0.0
    errors: list[dict[str, str]] = field(default_factory=list)

    def note(self, adapter_id: str, problem: str) -> None:
        """Count a problem of one adapter."""
        self.failed += 1
        if len(self.errors) < _MOST_ERRORS:
            self.errors.append({"adapter_id": adapter_id, "detail": problem})


class VectorJob(ABC):
    """One kind of embeddings: what is due of it, and the job that computes it.

    A job may be killed at any moment and run again: it commits as it goes, and does what is due
    when it runs.
    """

    #: Of the job, such as `embeddings.text`.
    kind: str
    #: The kind of job after which this one is looked at; None: after scans, and when asked for.
    follows: str | None = None

    @abstractmethod
    def unavailable(self) -> LoraManagerError | None:
        """Why it cannot be computed here, such as a missing extra; None if it can. Quick."""

    @abstractmethod
    def is_due(self, session: ReadSession) -> bool:
        """Whether anything may be due; quick, and sooner once too often than never."""

    @abstractmethod
    def run(self, context: JobContext) -> Mapping[str, Any]:
        """Do a `VectorOrder`; gives a `VectorReport` as a dict."""

    @abstractmethod
    def counts(self, session: ReadSession) -> Mapping[str, int]:
        """How many adapters are in each state: `current, stale, missing, failed, no_text` …"""


class Pace:
    """Reports the progress of a job with its rate and the time that is left.

    The rate is that of this run, so that what was done before a restart does not flatter it.
    """

    def __init__(self, context: JobContext, total: int, what: str) -> None:
        self._context = context
        self._total = total
        self._what = what
        self._began = time.monotonic()
        self._done = 0
        self._skipped = 0

    def skip(self, count: int) -> None:
        """So many of them need no work; they do not count for the rate."""
        self._skipped += count

    def add(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        elapsed = time.monotonic() - self._began
        rate = self._done / elapsed if elapsed > 0 else None
        done = self._done + self._skipped
        left_s = (self._total - done) / rate if rate else None
        pace = f", {rate:.1f} a second" if rate else ""
        self._context.report(
            JobProgress(
                done / self._total if self._total else 1.0,
                done,
                self._total,
                eta_s=left_s,
                message=f"{done} of {self._total} {self._what}{pace}",
            )
        )
