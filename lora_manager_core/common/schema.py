"""The parent of every request schema: strict types, no unknown fields, finite numbers only."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
ShortText = Annotated[str, StringConstraints(max_length=500)]
LongText = Annotated[str, StringConstraints(max_length=50_000)]
#: A prompt, as long as anybody would write one.
Prompt = Annotated[str, StringConstraints(max_length=100_000)]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class RequestModel(BaseModel):
    """What comes in: mistyped or unknown fields, infinities, NaN and NUL characters are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nul(cls, given: Any) -> Any:
        if _has_nul(given):
            raise ValueError("a text holds a NUL character, which cannot be stored; leave it out")
        return given


def _has_nul(given: Any) -> bool:
    if isinstance(given, str):
        return "\0" in given
    if isinstance(given, dict):
        return any(_has_nul(key) or _has_nul(value) for key, value in given.items())
    return isinstance(given, list) and any(map(_has_nul, given))


class FieldProblem(BaseModel):
    """One mistake in a request: where, and what."""

    loc: list[str]
    msg: str
    type: str


class Problem(BaseModel):
    """The body of every error answer (RFC 9457); some carry further members, such as ids."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not found",
                "status": 404,
                "detail": "There is no adapter 7d1c….",
                "code": "adapter_not_found",
            }
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldProblem] | None = None
