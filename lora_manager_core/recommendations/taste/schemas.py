"""What goes in and out of feedback and preferences; the descriptions become the API document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from lora_manager_core.common.schema import RequestModel, Word

Id = Annotated[str, Field(max_length=100)]
FeedbackType = Literal["positive", "negative", "activated", "ignored", "dismissed"]
LoggedType = Literal["positive", "negative", "activated", "ignored", "dismissed", "removed"]
PreferenceType = Literal["archetype", "style", "technical", "author", "tag"]
Reason = Annotated[str, StringConstraints(max_length=2000)]


class FeedbackRequest(RequestModel):
    """What somebody thinks, or did, about one adapter of an answer."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_id": "5b0c…",
                "recommended_lora_id": "7d1c…",
                "feedback_type": "positive",
                "feedback_reason": "just the line I was looking for",
            }
        }
    )

    session_id: Id = Field(description="Of the answer.")
    recommended_lora_id: Id
    feedback_type: FeedbackType = Field(
        description="`positive` and `negative` say whether it is liked, and the last one counts; "
        "`activated`, `ignored` and `dismissed` only what became of it in that answer."
    )
    feedback_reason: Reason | None = None
    implicit_signal: bool = Field(
        False, description="Concluded by the client, not said by a person; it counts the same."
    )


class FeedbackRecord(BaseModel):
    """One entry of the log."""

    id: str
    session_id: str | None = Field(description="Null for what was noticed outside of any answer.")
    recommended_lora_id: str
    feedback_type: LoggedType = Field(
        description="`removed`: activated, and taken out again within a minute."
    )
    feedback_reason: str | None
    implicit_signal: bool
    created_at: str
    shown: bool | None = Field(
        description="Whether that answer showed the adapter: what people say counts all the same, "
        "but only what was shown makes popular. Null if the answer is not kept any more."
    )


class FeedbackQuery(BaseModel):
    """Which part of the log."""

    page: Annotated[int, Field(ge=1, le=10**9)] = 1
    per_page: Annotated[int, Field(ge=1, le=1000)] = 24
    recommended_lora_id: Annotated[str, Field(max_length=100)] | None = None
    feedback_type: LoggedType | None = None


class FeedbackPage(BaseModel):
    """One page of the log, newest first."""

    items: list[FeedbackRecord]
    total: int
    filtered: int
    page: int
    pages: int
    per_page: int
    counted_since: str | None = Field(
        description="When taste began anew: pictures made before are not counted. Null: never."
    )


class FeedbackReset(BaseModel):
    """What a reset did."""

    deleted: int
    counted_since: str


class PreferenceRequest(RequestModel):
    """Something that a person prefers."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"preference_type": "tag", "preference_value": "ink", "confidence": 0.8}
        }
    )

    preference_type: PreferenceType = Field(
        description="`tag`, `author` and `archetype` are compared with those of adapters, without "
        "case; `style` with tags and archetype, `technical` with base model and network type."
    )
    preference_value: Word
    confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="How sure it is; weighs like so much of a like of each such adapter."
    )
    explicit: bool = Field(True, description="False: the client concluded it.")


class PreferenceRecord(BaseModel):
    """Something that a person prefers, and how much of what they did agrees."""

    id: str
    preference_type: PreferenceType
    preference_value: str
    confidence: float
    learned_from: Literal["explicit", "client"] = Field(description="Who said so.")
    evidence_count: int = Field(description="Signs of liking of adapters that are so.")
    last_evidence_at: str | None
    created_at: str
    updated_at: str


class Evidence(BaseModel):
    """The adapters and signs behind something learned."""

    lora_id: str
    lora_name: str
    signs: dict[str, int] = Field(
        description="How often: `positive`, `negative`, `kept`, `used`, `removed`."
    )
    summary: str = Field(description="The same in words.")


class LearnedPreference(BaseModel):
    """What signs of taste have in common.

    `score` is Σ y·w / (1 + Σ w) over the signs of adapters that are so: between -1 and 1.
    """

    preference_type: Literal["tag", "author", "base_model"]
    preference_value: str
    score: float
    evidence_count: int
    last_evidence_at: str
    learned_from: Literal["feedback"] = "feedback"
    evidence: list[Evidence] = Field(description="What weighs most, at most five adapters.")


class PreferencesAnswer(BaseModel):
    """What was said, and what was learned: what weighs most first."""

    stated: list[PreferenceRecord]
    learned: list[LearnedPreference]
