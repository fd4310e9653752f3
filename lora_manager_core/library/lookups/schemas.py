"""What goes in and out of the look-up routes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from lora_manager_core.library.chosen import ChosenAdapters


class LookUpRequest(ChosenAdapters):
    """Which files to ask for, and what to take beside the texts."""

    again: bool = Field(False, description="Also what was answered before.")
    previews: Literal["data", "beside"] | None = Field(
        None,
        description="Fetch a picture for adapters without one: into the data folder, or beside the "
        "model.",
    )


class LookUpStarted(BaseModel):
    """The job that asks; one that is under way is not started again."""

    job_id: str
    status: str


class LookUpAnswer(BaseModel):
    """What a provider said of one adapter's file."""

    provider: str
    state: Literal["waiting", "never_asked", "not_found", "found"] = Field(
        description="`waiting`: the file is not hashed yet."
    )
    asked_at: str | None
    answer: dict[str, Any] | None = Field(description="The whole answer, as it came.")
