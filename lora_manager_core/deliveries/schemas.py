"""What goes in and out of the delivery routes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from lora_manager_core.common.schema import Prompt, RequestModel
from lora_manager_core.common.words import comma_list
from lora_manager_core.queueing.base import ENDED, UNFINISHED

Status = Literal["pending", "running", "retrying", "succeeded", "failed", "cancelled"]
#: Between these, every offset from UTC gives a time that can be written.
Moment = Annotated[
    AwareDatetime,
    Field(
        ge=datetime(2000, 1, 1, tzinfo=timezone.utc), le=datetime(9000, 1, 1, tzinfo=timezone.utc)
    ),
]


class DeliveryCreate(RequestModel):
    """A prompt, and the way it is to go."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "prompt": "a fox <lora:ink_portrait:0.800>",
                "mode": "http",
                "params": {"host": "127.0.0.1", "port": 8000, "path": "/prompts"},
            }
        }
    )

    prompt: Prompt
    mode: Annotated[str, Field(min_length=1, max_length=50)] = Field(
        description="`sdnext`, `sweep`, `http` or `cli`."
    )
    params: dict[str, Any] = Field(
        default_factory=dict, description="What the mode takes, see docs/deliveries.md."
    )


class DeliveryCreated(BaseModel):
    """The delivery that was stored."""

    delivery_id: str


class ListQuery(BaseModel):
    """The filters and page of a list of deliveries."""

    model_config = ConfigDict(frozen=True)

    status: str | None = Field(None, description="Any of these states, by comma.")
    mode: str | None = Field(None, description="Any of these modes, by comma.")
    created_from: Moment | None = Field(None, description="Created at this time or later.")
    created_until: Moment | None = Field(None, description="Created before this time.")
    page: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    per_page: Annotated[int, Field(ge=1, le=1000)] = 24

    @field_validator("status")
    @classmethod
    def _known(cls, status: str | None) -> str | None:
        known = (*UNFINISHED, *ENDED)
        if status is not None and not set(comma_list(status)) <= set(known):
            raise ValueError(f"the states are {', '.join(known)}")
        return status


class Attempt(BaseModel):
    """One time that a delivery was begun."""

    number: int
    started_at: str
    ended_at: str | None
    outcome: str | None = Field(
        description="Null while it runs; a final state, `released` when the program stopped in "
        "order, or `abandoned` when it died."
    )
    error: str | None
    error_code: str | None


class DeliverySummary(BaseModel):
    """One delivery in a list; pictures are links here, whatever form was asked for."""

    id: str
    prompt: str
    mode: str
    params: dict[str, Any]
    status: Status
    progress: float
    message: str | None
    result: dict[str, Any] | None
    error: str | None
    error_code: str | None
    cancel_requested: bool = Field(description="It runs, and stops at its next step.")
    attempt_count: int
    retries_left: int
    not_before: str | None = Field(description="When it is tried again, at the earliest.")
    retry_of: str | None = Field(description="The delivery that this one repeats.")
    created_at: str
    started_at: str | None
    finished_at: str | None


class DeliveryRecord(DeliverySummary):
    """One delivery, whole."""

    attempts: list[Attempt]


class DeliveryAnswer(BaseModel):
    """One delivery."""

    delivery: DeliveryRecord


class DeliveryPage(BaseModel):
    """One page of deliveries, newest first."""

    items: list[DeliverySummary]
    total: int
    filtered: int
    page: int
    pages: int
    per_page: int
