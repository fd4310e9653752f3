"""Events from several tables as one list, newest first, that can be paged without gaps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lora_manager_core.common.clock import utc_text
from lora_manager_core.common.lora_tokens import strip_tokens
from lora_manager_core.dashboard.repository import Before, DashboardRecords
from lora_manager_core.dashboard.schemas import ActivityEvent, ActivityFeed, ActivityQuery
from lora_manager_core.db.models import Job
from lora_manager_core.errors import Unprocessable
from lora_manager_core.generation.jobs import GENERATION_JOB, image_url
from lora_manager_core.library.scan import SCAN_JOB
from lora_manager_core.queueing.base import CANCELLED, DELIVERY_LANE, FAILED, SUCCEEDED

_ENDS = {SUCCEEDED: "completed", FAILED: "failed", CANCELLED: "cancelled"}
#: Letters of a prompt that make a title.
_TITLE = 120
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class _Found:
    """An event with its place: newest first, then by the name of its source, then by its row."""

    at: str
    source: str
    row_id: str
    make: Callable[[dict[str, int]], ActivityEvent]

    @property
    def place(self) -> tuple[str, str, str]:
        return (self.at, self.source, self.row_id)


def read_activity(records: DashboardRecords, asked: ActivityQuery) -> ActivityFeed:
    """One page of events; each source is asked for as many as the page holds.

    Raises:
        Unprocessable: `before` is neither a time nor the `next` of a page.
    """
    cursor = _cursor(asked.before)
    most = asked.limit + 1  # one more tells whether there is a next page
    found = [
        *(_of_job(job) for job in records.ended_jobs(_before(cursor, "job"), most)),
        *(_of_added(row) for row in records.added_adapters(_before(cursor, "added"), most)),
        *(_of_changed(row) for row in records.changed_adapters(_before(cursor, "changed"), most)),
    ]
    found.sort(key=lambda event: event.place, reverse=True)
    page = found[: asked.limit]
    pictures = records.first_pictures([e.row_id for e in page if e.source == "job"])
    return ActivityFeed(
        events=[event.make(pictures) for event in page],
        next="|".join(page[-1].place) if len(found) > asked.limit else None,
    )


def _cursor(text: str | None) -> tuple[str, str, str] | None:
    if text is None:
        return None
    time, _, rest = text.partition("|")
    source, _, row_id = rest.partition("|")
    if not _TIME.fullmatch(time):
        raise Unprocessable("`before` is a time such as 2026-07-23T11:48:34Z, or `next` of a page.")
    fraction = re.search(r"\.(\d+)", time)
    if fraction:  # Python 3.10 reads three or six digits
        time = time.replace(fraction.group(), "." + fraction.group(1).ljust(6, "0"))
    try:
        moment = utc_text(datetime.fromisoformat(time.replace("Z", "+00:00")))
    except (ValueError, OverflowError) as error:
        raise Unprocessable("`before` is no time of the calendar.") from error
    return moment, source, row_id


def _before(cursor: tuple[str, str, str] | None, source: str) -> Before | None:
    if cursor is None:
        return None
    at, last_source, row_id = cursor
    if last_source == source:
        return Before(at, row_id)
    return Before(at, ties=source < last_source)


def _of_job(job: Job) -> _Found:
    what = _what(job)

    def _make(pictures: dict[str, int]) -> ActivityEvent:
        picture = pictures.get(job.id)
        return ActivityEvent(
            id=f"job:{job.id}",
            type=f"{what}_{_ENDS[job.status]}",
            at=str(job.finished_at),
            title=_title(job, what),
            detail=_detail(job),
            adapter_id=None,
            job_id=job.id,
            image_url=None if picture is None else image_url(job.id, picture),
        )

    return _Found(str(job.finished_at), "job", job.id, _make)


def _what(job: Job) -> str:
    if job.kind == GENERATION_JOB:
        return "generation"
    if job.kind == SCAN_JOB:
        return "scan"
    return "delivery" if job.lane == DELIVERY_LANE else re.sub(r"\W+", "_", job.kind)


def _title(job: Job, what: str) -> str:
    params = job.payload.get("params")
    prompt = job.payload.get("prompt") or (params.get("prompt") if params else None)
    title = strip_tokens(str(prompt)) if prompt else ""
    title = title or f"{what.replace('_', ' ').capitalize()} job"
    return title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"


def _detail(job: Job) -> str | None:
    if job.error:
        return str(job.error.get("detail"))
    result: dict[str, Any] = job.result or {}
    if job.kind == SCAN_JOB and result:
        return ", ".join(
            f"{result[name]} {name}"
            for name in ("found", "added", "changed", "moved", "missing")
            if name in result
        )
    images = result.get("images")
    return f"{len(images)} picture{'s' * (len(images) != 1)}" if images else None


def _of_added(row: Any) -> _Found:
    detail = "Found by a scan." if row.origin == "scan" else "Added by hand."
    return _of_adapter("added", row, detail)


def _of_changed(row: Any) -> _Found:
    edited: Sequence[str] = row.edited_fields
    detail = f"Set by hand so far: {', '.join(sorted(edited))}." if edited else None
    return _of_adapter("changed", row, detail)


def _of_adapter(source: str, row: Any, detail: str | None) -> _Found:
    event = ActivityEvent(
        id=f"adapter_{source}:{row.id}:{row.at}",
        type=f"adapter_{source}",
        at=row.at,
        title=row.name,
        detail=detail,
        adapter_id=row.id,
        job_id=None,
        image_url=None,
    )
    return _Found(row.at, source, row.id, lambda _pictures: event)
