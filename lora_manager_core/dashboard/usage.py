"""Runs as a time series of UTC hours, days or weeks, with zeros where nothing ran."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

from lora_manager_core.common.clock import utc_text
from lora_manager_core.dashboard.schemas import (
    Bucket,
    Usage,
    UsageBucket,
    UsageGroupSums,
    UsageQuery,
)
from lora_manager_core.dashboard.usage_repository import GroupSums, RunSums, UsageRecords
from lora_manager_core.errors import Unprocessable

#: More hours than these are no chart.
_MOST_DAYS_BY_HOUR = 31
_STEPS: Mapping[Bucket, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}


def count_usage(records: UsageRecords, asked: UsageQuery, now: datetime) -> Usage:
    """Count what was asked for; `now` is aware.

    Raises:
        Unprocessable: more hours than anybody can look at.
    """
    if asked.bucket == "hour" and asked.days > _MOST_DAYS_BY_HOUR:
        raise Unprocessable(f"By hour at most {_MOST_DAYS_BY_HOUR} days can be shown; use `day`.")
    starts = bucket_starts(asked.days, asked.bucket, now)
    since = utc_text(starts[0])
    digits = 13 if asked.bucket == "hour" else 10
    places = {start: number for number, start in enumerate(starts)}

    def _place(stretch: str) -> int:
        return places[_bucket_of(stretch, asked.bucket)]

    sums = [RunSums(0, 0, 0, 0.0)] * len(starts)
    for stretch, found in records.by_stretch(since, digits).items():
        sums[_place(stretch)] = _added(sums[_place(stretch)], found)
    top = records.top_groups(since, asked.by, asked.limit)
    steps: dict[str | None, list[int]] = {group.key: [0] * len(starts) for group in top}
    for stretch, key, runs in records.runs_by_stretch(since, asked.by, digits, list(steps)):
        steps[key][_place(stretch)] += runs
    return Usage(
        since=since,
        until=utc_text(now),
        bucket=asked.bucket,
        by=asked.by,
        total_runs=sum(part.runs for part in sums),
        total_images=sum(part.images for part in sums),
        series=[
            UsageBucket(
                start=utc_text(start),
                runs=part.runs,
                images=part.images,
                duration_s=round(part.duration_s, 3) if part.timed or not part.runs else None,
            )
            for start, part in zip(starts, sums, strict=True)
        ],
        groups=[_group(group, steps[group.key]) for group in top],
        groups_left_out=records.count_groups(since, asked.by) - len(top),
    )


def bucket_starts(days: int, bucket: Bucket, now: datetime) -> list[datetime]:
    """The start of every bucket of the last `days` days, today's included, first to last."""
    now = now.astimezone(timezone.utc)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=days - 1)
    if bucket == "week":
        start -= timedelta(days=start.weekday())
    starts = []
    while start <= now:
        starts.append(start)
        start += _STEPS[bucket]
    return starts


def _bucket_of(stretch: str, bucket: Bucket) -> datetime:
    shape = "%Y-%m-%dT%H" if bucket == "hour" else "%Y-%m-%d"
    start = datetime.strptime(stretch, shape).replace(tzinfo=timezone.utc)
    return start - timedelta(days=start.weekday()) if bucket == "week" else start


def _added(one: RunSums, other: RunSums) -> RunSums:
    return RunSums(
        one.runs + other.runs,
        one.images + other.images,
        one.timed + other.timed,
        one.duration_s + other.duration_s,
    )


def _group(sums: GroupSums, runs_by_bucket: list[int]) -> UsageGroupSums:
    return UsageGroupSums(
        key=sums.key,
        name=sums.name,
        adapter_id=sums.adapter_id,
        runs=sums.runs,
        images=sums.images,
        mean_weight=None if sums.weight is None else round(sums.weight, 4),
        runs_by_bucket=runs_by_bucket,
    )
