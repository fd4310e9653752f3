"""What goes in and out of the dashboard routes; what cannot be known is null, with a reason."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_manager_core.adapters.schemas import AdapterRecord
from lora_manager_core.system.schemas import Disk, StatusWord

QueueWord = Literal["idle", "busy", "waiting", "unreachable", "unknown"]
Bucket = Literal["hour", "day", "week"]
UsageGroup = Literal["adapter", "base_model", "model"]


class Stats(BaseModel):
    """The library and its work in five numbers."""

    total_loras: int
    active_loras: int
    embeddings_coverage: float | None = Field(description="Share of adapters embedded, 0 to 1.")
    recent_imports: int = Field(description="Adapters added in the last seven days.")
    active_jobs: int | None = Field(description="Jobs that wait or run.")


class GpuMemory(BaseModel):
    """The GPU's memory in bytes."""

    used_bytes: int
    total_bytes: int


class StorageUsage(BaseModel):
    """What the library takes, and the disks under our folders."""

    library_bytes: int = Field(description="Sum of the sizes of all adapters' files.")
    disks: list[Disk]


class SystemHealth(BaseModel):
    """The state of the installation; the words of `status` are those of `/system/status`."""

    status: StatusWord
    gpu_status: Literal["ok", "none", "unknown"]
    gpu_memory: GpuMemory | None
    queue_status: QueueWord = Field(
        description="`idle`; `busy`: jobs run; `waiting`: jobs wait, and none runs."
    )
    storage_usage: StorageUsage


class DashboardStats(BaseModel):
    """The library at a glance."""

    stats: Stats
    system_health: SystemHealth
    reasons: dict[str, str] = Field(description="Field → why it is null.")


class FeaturedAdapters(BaseModel):
    """Adapters worth a place at the top, and the rule they were chosen by."""

    rule: str
    items: list[AdapterRecord]


class ActivityQuery(BaseModel):
    """Which page of the events."""

    model_config = ConfigDict(frozen=True)

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    before: Annotated[str, Field(max_length=120)] | None = Field(
        None, description="A time (RFC 3339), or `next` of the page before: only what is older."
    )


class ActivityEvent(BaseModel):
    """One thing that happened.

    `type` is, for jobs, what (`generation`, `scan`, `delivery`, …) and how it ended (`_completed`,
    `_failed`, `_cancelled`); for adapters `adapter_added` and `adapter_changed`, of whose changes
    only the last is known.
    """

    id: str
    type: str
    at: str
    title: str
    detail: str | None
    adapter_id: str | None
    job_id: str | None
    image_url: str | None


class ActivityFeed(BaseModel):
    """Events, the newest first."""

    events: list[ActivityEvent]
    next: str | None = Field(description="`before` of the page of older events; null at the end.")


class UsageQuery(BaseModel):
    """Which stretch of time, in what steps, apart by what."""

    model_config = ConfigDict(frozen=True)

    days: Annotated[int, Field(ge=1, le=366)] = Field(30, description="Days back, today included.")
    bucket: Bucket = Field("day", description="Of UTC; weeks begin on Monday.")
    by: UsageGroup = "adapter"
    limit: Annotated[int, Field(ge=1, le=200)] = Field(20, description="Groups to name at most.")


class UsageBucket(BaseModel):
    """One step of the time series."""

    start: str
    runs: int
    images: int
    duration_s: float | None = Field(description="Seconds of the runs whose duration is known.")


class UsageGroupSums(BaseModel):
    """One adapter, base model or checkpoint. `key` is null where that is not known."""

    key: str | None
    name: str | None
    adapter_id: str | None = Field(description="Null for a group of adapters or a deleted record.")
    runs: int
    images: int
    mean_weight: float | None = Field(description="Mean strength in these runs, for adapters.")
    runs_by_bucket: list[int] = Field(description="In the order of `series`.")


class Usage(BaseModel):
    """Generations that really ran, whoever asked for them."""

    since: str
    until: str
    bucket: Bucket
    by: UsageGroup
    total_runs: int
    total_images: int
    series: list[UsageBucket]
    groups: list[UsageGroupSums] = Field(description="By runs, the most used first.")
    groups_left_out: int = Field(description="Groups beyond `limit`.")
