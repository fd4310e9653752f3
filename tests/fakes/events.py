"""Feed events of one job, as short to write as a test wants them."""

from __future__ import annotations

from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, FeedEvent


def started(job_id: str = "job") -> FeedEvent:
    """The start of a job."""
    return FeedEvent(STARTED, job_id, {"job_id": job_id, "progress": 0.0})


def progress(fraction: float, job_id: str = "job") -> FeedEvent:
    """How far it is."""
    return FeedEvent(PROGRESS, job_id, {"job_id": job_id, "progress": fraction})


def complete(job_id: str = "job", status: str = "completed") -> FeedEvent:
    """Its end."""
    return FeedEvent(COMPLETE, job_id, {"job_id": job_id, "status": status})
