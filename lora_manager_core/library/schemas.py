"""What goes in and out of the library routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from lora_manager_core.common.schema import RequestModel
from lora_manager_core.library.hashing.schemas import HashingState


class LibraryRoot(BaseModel):
    """One library folder."""

    path: str
    ok: bool
    problem: str | None


class LibraryWatching(BaseModel):
    """Whether the server notices changes of the folders by itself."""

    active: bool
    method: Literal["events", "polling", "mixed"] | None = Field(
        description="The system tells of changes, the folders are looked at every few seconds "
        "(network drives), or either."
    )
    problem: str | None = Field(description="Why it is off, or slower than it could be.")
    waiting: int = Field(description="Files and folders that changed and are not listed yet.")


class LibraryOverview(BaseModel):
    """The library at a glance."""

    roots: list[LibraryRoot]
    total: int
    unreadable: int
    missing: int
    excluded: int
    watching: LibraryWatching
    scanning_job_id: str | None
    last_scan: dict[str, Any] | None = Field(description="Report and time of the last scan.")
    hashing: HashingState


class ScanStarted(BaseModel):
    """The job that scans; a running scan is not started again."""

    job_id: str
    status: str


class ExcludedFileInfo(BaseModel):
    """A file whose record was deleted."""

    file_path: str
    name: str
    excluded_at: str


class ExcludedFiles(BaseModel):
    """Files that a scan passes over."""

    excluded: list[ExcludedFileInfo]


class RestoreRequest(RequestModel):
    """Which excluded file the next scan is to list again."""

    file_path: Annotated[str, Field(min_length=1, max_length=4096)]


class HeaderAnswer(BaseModel):
    """The header of a model file as it is stored in it."""

    metadata: dict[str, str]
    tensors: dict[str, Any] = Field(description="Name → dtype, shape and offsets in bytes.")
    file_size: int
    data_start: int
