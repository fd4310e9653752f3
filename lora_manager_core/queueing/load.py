"""How much work waits, who does it, and how long that will take by what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_manager_core.db.models import Job
from lora_manager_core.queueing.base import GPU_LANE, PENDING, RETRYING, RUNNING, WorkerInfo
from lora_manager_core.queueing.store import JobStore


@dataclass(frozen=True, slots=True)
class QueueLoad:
    """The queue at one moment.

    `waiting` and `running` count the jobs of all lanes. `eta_s`, of the GPU lane, is in seconds; it
    is None where it cannot be known, and then `eta_unknown` says why. `problem` says why the queue
    itself cannot be reached.
    """

    waiting: int
    running: int
    workers: tuple[WorkerInfo, ...]
    eta_s: float | None
    eta_unknown: str | None
    problem: str | None = None


def queue_load(store: JobStore, workers: Sequence[WorkerInfo], problem: str | None) -> QueueLoad:
    """Count, and estimate from the pace of past jobs."""
    counts = store.count_unfinished()
    eta_s, eta_unknown = _eta(
        store.waiting_work(GPU_LANE),
        store.list_running(GPU_LANE),
        store,
        sum(GPU_LANE in worker.lanes for worker in workers),
    )
    return QueueLoad(
        waiting=counts.get(PENDING, 0) + counts.get(RETRYING, 0),
        running=counts.get(RUNNING, 0),
        workers=tuple(workers),
        eta_s=eta_s,
        eta_unknown=eta_unknown,
        problem=problem,
    )


def _eta(
    waiting: Mapping[str, float], running: Sequence[Job], store: JobStore, workers: int
) -> tuple[float | None, str | None]:
    """What is left of running jobs and all of waiting ones, shared by the workers."""
    if not waiting and not running:
        return 0.0, None
    if not workers:
        return None, "No worker takes the jobs of the GPU."
    paces = {kind: store.pace(kind) for kind in {*waiting, *(job.kind for job in running)}}
    left_s = 0.0
    for job in running:
        pace = paces[job.kind]
        remaining = job.eta_s if pace is None else pace * job.work * (1.0 - job.progress)
        if remaining is None:
            return None, _no_pace(job.kind)
        left_s += remaining
    for kind, work in waiting.items():
        pace = paces[kind]
        if pace is None:
            return None, _no_pace(kind)
        left_s += pace * work
    return left_s / workers, None


def _no_pace(kind: str) -> str:
    return f"No job of the kind “{kind}” has succeeded yet, so its pace is not known."
