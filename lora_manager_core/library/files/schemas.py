"""What goes in and out of the routes of the bin, and of those that move files."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from lora_manager_core.adapters.schemas import AdapterRecord
from lora_manager_core.common.schema import RequestModel
from lora_manager_core.library.chosen import ChosenAdapters


class BinEntry(BaseModel):
    """The files of one deletion."""

    undo_id: str
    title: str
    deleted_at: str
    files: int
    size_bytes: int


class BinContents(BaseModel):
    """What is in the bin, by deletion, the latest first."""

    files: int
    size_bytes: int
    entries: list[BinEntry]


class BinEmptied(BaseModel):
    """What was deleted for good."""

    files: int
    size_bytes: int


class FileMoveRequest(RequestModel):
    """Another name or folder for the file of an adapter; what is not said stays."""

    name: Annotated[str, Field(min_length=1, max_length=240)] | None = Field(
        None, description="Of the file, without its ending."
    )
    folder: Annotated[str, Field(max_length=1000)] | None = Field(
        None,
        description="Below the library folder that the file lies in (`/` between its parts, empty: "
        "that folder itself), or absolute in any library folder.",
    )


class FileMoveAnswer(BaseModel):
    """The record with its new file."""

    adapter: AdapterRecord
    undo_id: str


class OrganizeRequest(ChosenAdapters):
    """Where files belong, by what they are; first the plan alone."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"template": "{base_model}/{author}/{name}"}}
    )

    template: Annotated[str, Field(min_length=1, max_length=500)] = Field(
        description="A relative path; fields: `base_model`, `author`, `name`, `file` (its name "
        "now), `version`, `network_type`, `tag` (the first). What is not known is `unknown`."
    )
    dry_run: bool = Field(True, description="Only the plan; false: do it, as a job.")
    limit: Annotated[int, Field(ge=0, le=100_000)] = Field(
        1000, description="Files told in each list of a plan."
    )


class PlannedMove(BaseModel):
    """One file that would move, with all beside it."""

    adapter_id: str
    name: str
    source: str = Field(alias="from")
    destination: str = Field(alias="to")


class StayingFile(BaseModel):
    """One file that stays, and why."""

    adapter_id: str
    name: str
    path: str
    reason: str


class OrganizePlanAnswer(BaseModel):
    """What would move, what stays, and what is in the way."""

    move_count: int
    stay_count: int
    conflict_count: int
    moves: list[PlannedMove]
    stays: list[StayingFile]
    conflicts: list[StayingFile]


class OrganizeAnswer(BaseModel):
    """The plan; or the job, by whose id it can be taken back (`/adapters/undo`)."""

    plan: OrganizePlanAnswer | None = None
    job_id: str | None = None
    status: str | None = None
