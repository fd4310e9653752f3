"""What the feed is told of jobs, in the words of section 8 of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lora_manager_core.db.models import Job
from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, Feed, FeedEvent
from lora_manager_core.queueing.base import CANCELLED, FAILED, SUCCEEDED, JobProgress


def publish_started(feed: Feed, job: Job, pace: float | None) -> None:
    """Tell the feed that a job has started; `pace` is seconds per unit of work, if known."""
    feed.publish(
        FeedEvent(
            STARTED,
            job.id,
            {
                "job_id": job.id,
                "kind": job.kind,
                "params": job.payload,
                "estimated_duration": None if pace is None else round(pace * job.work, 3),
                "progress": 0.0,
            },
        )
    )


def publish_progress(
    feed: Feed, job_id: str, kind: str, highest: float, progress: JobProgress
) -> None:
    """Tell the feed how far a job is; `highest` is its fraction, which never falls."""
    feed.publish(
        FeedEvent(
            PROGRESS,
            job_id,
            {
                "job_id": job_id,
                "kind": kind,
                "status": "processing",
                "progress": highest,
                "current_step": progress.step,
                "total_steps": progress.steps,
                "eta_seconds": progress.eta_s,
                "message": progress.message,
                "preview_image": progress.preview,
                "error_message": None,
            },
        )
    )


def publish_waiting(
    feed: Feed, job: Job, progress: float, pause_s: float, error: Mapping[str, Any]
) -> None:
    """Tell the feed that a job failed for something that may pass, and is tried again."""
    feed.publish(
        FeedEvent(
            PROGRESS,
            job.id,
            {
                "job_id": job.id,
                "kind": job.kind,
                "status": "queued",
                "progress": progress,
                "current_step": None,
                "total_steps": None,
                "eta_seconds": None,
                "message": f"Trying again in {pause_s:.0f} s: {error['detail']}",
                "preview_image": None,
                "error_message": error["detail"],
            },
        )
    )


def publish_end(
    feed: Feed,
    job: Job,
    status: str,
    result: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
    duration_s: float | None,
) -> None:
    """Tell the feed that a job has ended."""
    words = {SUCCEEDED: "completed", FAILED: "failed", CANCELLED: "cancelled"}
    feed.publish(
        FeedEvent(
            COMPLETE,
            job.id,
            {
                "job_id": job.id,
                "kind": job.kind,
                "status": words[status],
                "images": (result or {}).get("images", []),
                "error_message": (error or {}).get("detail"),
                "error_code": (error or {}).get("code"),
                "total_duration": duration_s,
                "generation_info": (result or {}).get("generation_info"),
                "result": result,
            },
        )
    )
