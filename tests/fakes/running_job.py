"""What a handler is given, without a queue: it remembers what was reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_manager_core.queueing.base import JobContext, JobProgress


class FakeContext(JobContext):
    """The context of a job of that id; `cancelled` says whether it is to stop."""

    def __init__(
        self,
        job_id: str = "7d1c5a0e-0000-4000-8000-000000000002",
        payload: Mapping[str, Any] | None = None,
        cancelled: bool = False,
    ) -> None:
        self.job_id = job_id
        self.payload = payload or {}
        self.cancelled = cancelled
        self.reported: list[JobProgress] = []

    def report(self, progress: JobProgress) -> None:
        self.reported.append(progress)

    def is_cancelled(self) -> bool:
        return self.cancelled
