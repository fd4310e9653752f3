"""What goes out of the system routes: every figure with its unit, null where it cannot be read."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

StatusWord = Literal["ready", "degraded", "starting", "error"]


class Health(BaseModel):
    """`reason` says why the process is not ready."""

    ready: bool
    reason: str | None
    version: str


class Disk(BaseModel):
    """The disk under one of our folders."""

    role: str = Field(description="What the folder is for: `data`, `outputs` or `library`.")
    path: str
    free_bytes: int | None = Field(description="Bytes that this process may still write.")
    total_bytes: int | None = Field(description="Bytes in all.")
    reason: str | None = Field(description="Why the figures are null, if they are.")


class Metrics(BaseModel):
    """The machine and this process."""

    cpu_load: float | None = Field(description="Share of the processors in use, 0 to 1.")
    cpu_count: int | None = Field(description="Logical processors.")
    ram_used: int = Field(description="Bytes of main memory in use.")
    ram_total: int = Field(description="Bytes of main memory.")
    process_memory: int = Field(description="Bytes this process holds (resident).")
    gpu_name: str | None
    gpu_utilisation: float | None = Field(description="Share of time the GPU computed, 0 to 1.")
    disks: list[Disk]


class SdnextState(BaseModel):
    """SD.Next by the answer of its last probe."""

    configured: bool
    available: bool | None = Field(description="Null while the first probe is under way.")
    reason: str | None = Field(description="Why it is not available or not known.")
    model: str | None = Field(description="The loaded checkpoint.")
    base_model: str | None


class ImporterState(BaseModel):
    """The scan of the library folders, and what it has found."""

    scanning_job_id: str | None
    progress: float | None = Field(description="Of the running scan, 0 to 1; null without one.")
    message: str | None = Field(description="What the running scan says of itself.")
    last_scan: dict[str, Any] | None = Field(description="Report and time of the last scan.")
    total: int = Field(description="Adapters in the catalogue.")
    missing: int = Field(description="Of them, those whose file is gone.")
    unreadable: int = Field(description="Of them, those whose file cannot be read.")


class RecommendationState(BaseModel):
    """What the recommendations can draw on."""

    embeddings_coverage: float | None = Field(description="Share of adapters embedded, 0 to 1.")
    reason: str | None = Field(description="Why it is null.")


class Worker(BaseModel):
    """One place where jobs are run."""

    name: str
    lanes: list[str]
    busy: bool
    last_seen_at: str | None


class QueueState(BaseModel):
    """The jobs of all lanes; the time left is that of the GPU's."""

    waiting: int
    running: int
    eta_seconds: float | None
    workers: list[Worker]
    problem: str | None = Field(description="Why the queue cannot be reached, if it cannot.")


class SystemStatus(BaseModel):
    """The state of this installation; what is null has its reason in `reasons`, by field name.

    `status`: `error` where the database cannot be read; `starting` until jobs are looked after and
    the backend has answered once; `degraded` where something in `warnings` keeps pictures or scans
    from being made; else `ready`.
    """

    status: StatusWord
    gpu_available: bool | None
    gpu_status: Literal["ok", "none", "unknown"] = Field(
        description="Whether the GPU could be read, there is none, or nobody could be asked."
    )
    memory_used: int | None = Field(description="Bytes of the GPU's memory in use.")
    memory_total: int | None = Field(description="Bytes of the GPU's memory.")
    queue_length: int | None = Field(description="Jobs that wait, in all lanes.")
    active_workers: int | None = Field(description="Workers that live, busy or not.")
    backend: str | None = Field(description="The backend used when none is named.")
    queue_eta_seconds: float | None = Field(
        description="Seconds until the GPU's jobs are done, at the measured pace of past ones."
    )
    last_updated: str = Field(description="When this was read.")
    warnings: list[str]
    reasons: dict[str, str] = Field(description="Field → why it is null.")
    metrics: Metrics
    sdnext: SdnextState
    importer: ImporterState | None
    recommendations: RecommendationState
    queue: QueueState | None
