"""What goes out of the hashing routes."""

from __future__ import annotations

from pydantic import BaseModel, Field

from lora_manager_core.adapters.schemas import AdapterRecord


class HashFailure(BaseModel):
    """A file that could not be hashed, and why."""

    adapter_id: str
    file_path: str
    detail: str | None


class HashingState(BaseModel):
    """How far the hashes of the files that are there are made."""

    done: int
    pending: int
    pending_bytes: int
    failed: int
    problems: list[HashFailure] = Field(description="The first 20 that failed.")
    job_id: str | None = Field(description="The job that hashes now, or waits to.")
    message: str | None
    bytes_per_s: float | None = Field(description="Null unless this process hashes now.")
    eta_s: float | None


class HashingStarted(BaseModel):
    """The job that hashes; one that is under way is not started again."""

    job_id: str
    status: str


class HashedAdapter(BaseModel):
    """The record of the file that was hashed."""

    adapter: AdapterRecord
