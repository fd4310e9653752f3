"""What goes in and out of the routes of results."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_manager_core.common.schema import RequestModel

Rating = Annotated[int, Field(ge=1, le=5)]
ResultId = Annotated[str, Field(max_length=100)]


class ResultListQuery(BaseModel):
    """Which results, and which part of the list."""

    model_config = ConfigDict(frozen=True)

    limit: Annotated[int, Field(ge=1, le=200)] = 20
    offset: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    favorite: bool | None = None
    min_rating: Rating | None = Field(None, description="At least this rating, 1 to 5.")
    search: Annotated[str, Field(max_length=1000)] = Field(
        "", description="Words and quoted phrases that the prompt must all hold, in any case."
    )


class ResultImageRecord(BaseModel):
    """One picture of a result."""

    number: int
    image_url: str
    thumbnail_url: str
    width: int
    height: int
    seed: int
    infotext: str


class ResultRecord(BaseModel):
    """One finished job with its pictures; size and seed are the first picture's, as really made."""

    id: str
    job_id: str
    kind: str = Field(description="`generation`, or `generation.sweep` whose first is the grid.")
    prompt: str
    negative_prompt: str
    status: Literal["completed"]
    image_url: str
    thumbnail_url: str
    width: int
    height: int
    steps: int
    cfg_scale: float
    seed: int
    created_at: str
    finished_at: str
    generation_info: dict[str, Any]
    rating: int | None
    is_favorite: bool
    images: list[ResultImageRecord]


class ResultAnswer(BaseModel):
    """One result."""

    result: ResultRecord


class ResultPage(BaseModel):
    """A part of the list, newest first; `total` counts what the filters leave."""

    results: list[ResultRecord]
    total: int
    limit: int
    offset: int


class ResultUpdate(RequestModel):
    """What a person thinks of a result; at least one field."""

    rating: Rating | None = Field(None, description="1 to 5; null takes it back.")
    is_favorite: bool | None = None


class ResultBulkRequest(RequestModel):
    """One action on many results, in one transaction."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"action": "rate", "ids": ["7d1c…"], "rating": 4}}
    )

    action: Literal["delete", "favorite", "unfavorite", "rate"]
    ids: Annotated[list[ResultId], Field(min_length=1, max_length=100_000)]
    rating: Rating | None = Field(None, description="For `rate`; null takes ratings back.")
    skip_unknown: bool = Field(False, description="Pass over unknown ids instead of failing.")


class DeletedFiles(BaseModel):
    """Picture files of deleted results that are still there, open in a program for example."""

    files_left: list[str]


class ResultBulkAnswer(DeletedFiles):
    """What a bulk call did."""

    success: bool
    action: str
    processed: int
    ids: list[str]


class ReuseRequest(RequestModel):
    """`apply`: make the stack of the result the active set, with its weights and order."""

    apply: bool = False


class ReusedAdapter(BaseModel):
    """One token of the prompt; `missing` where no adapter of that name is there any more."""

    adapter_id: str | None
    name: str
    weight: float
    weight_te: float | None = Field(description="Strength of the text encoder, where it was given.")
    missing: bool


class ReuseAnswer(BaseModel):
    """A result as parameters to make it again: `seed` is the one really used."""

    generation_params: dict[str, Any]
    stack: list[ReusedAdapter]
    prompt: str
    prompt_without_tokens: str
    applied: bool
