"""A queue with workers that never come, for what is told of queues."""

from __future__ import annotations

from collections.abc import Sequence

from lora_manager_core.queueing.base import JobQueue, WorkerInfo


class FakeQueue(JobQueue):
    """Has one worker for each of `lanes` and carries nothing; `problem`: why it is out of reach.

    `submitted` holds the ids it was given, in order.
    """

    def __init__(
        self, lanes: Sequence[str] = (), problem: str | None = None, runs_here: bool = True
    ) -> None:
        self.runs_here = runs_here
        self._workers = [WorkerInfo(f"{lane}-{i}", (lane,), False) for i, lane in enumerate(lanes)]
        self._problem = problem
        self.submitted: list[str] = []

    @property
    def problem(self) -> str | None:
        return self._problem

    def submit(self, lane: str, job_id: str) -> None:
        self.submitted.append(job_id)

    def cancel(self, job_id: str) -> None:
        pass

    def start(self) -> None:
        pass

    def stop(self, timeout_s: float = 5.0) -> None:
        pass

    def workers(self) -> list[WorkerInfo]:
        return self._workers
