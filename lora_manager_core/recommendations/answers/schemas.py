"""What goes in and out of the answers of recommendations; every number in them is measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from lora_manager_core.common.schema import RequestModel, ShortText
from lora_manager_core.embeddings.base import Mode

Limit = Annotated[int, Field(ge=1, le=50)]
LoraId = Annotated[str, Field(max_length=100)]
#: Longer than any prompt: what people paste is answered, not refused.
PastedPrompt = Annotated[str, StringConstraints(max_length=200_000)]


class TechnicalRequirements(RequestModel):
    """What an adapter must be to be recommended at all."""

    base_model: ShortText | None = Field(
        None, description="Must fit this base model; without it, the loaded checkpoint."
    )
    network_type: ShortText | None = Field(None, description="LoRA, LoCon, LoHa, LoKr …")
    max_rank: Annotated[int, Field(ge=1, le=100_000)] | None = None
    max_file_size_mb: Annotated[float, Field(gt=0, le=1e9)] | None = None
    nsfw_max: Annotated[int, Field(ge=0, le=64)] | None = None


class ForPromptRequest(RequestModel):
    """A prompt, and what is in use already."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"prompt": "portrait of a knight, ink drawing", "active_loras": []}
        }
    )

    prompt: PastedPrompt
    active_loras: Annotated[list[LoraId], Field(max_length=1000)] = Field(
        default_factory=list, description="Left out of the answer."
    )
    limit: Limit = 10
    include_explanations: bool = True
    style_preference: ShortText | None = Field(
        None, description="A style in words; adapters whose tags are like it come first."
    )
    technical_requirements: TechnicalRequirements | None = None
    diversify_results: bool = Field(
        True, description="Whether near-duplicates of what is listed already come later."
    )


class SimilarQuery(BaseModel):
    """How alike, and in what."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    limit: Limit = 10
    similarity_threshold: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="Adapters less alike are left out."
    )
    diversify_results: bool = True
    weight_semantic: Annotated[float, Field(ge=0, le=100)] = Field(0.5, description="Of the texts.")
    weight_artistic: Annotated[float, Field(ge=0, le=100)] = Field(
        0.25, description="Of tags and style."
    )
    weight_technical: Annotated[float, Field(ge=0, le=100)] = Field(
        0.25, description="Of weights and format of the files."
    )


class TriggerQuery(BaseModel):
    """A trigger word or phrase."""

    model_config = ConfigDict(frozen=True)

    trigger_query: Annotated[str, Field(max_length=1000)]
    limit: Limit = 10


class Addend(BaseModel):
    """One summand of a final score."""

    name: Literal["text", "tags", "words", "spelling", "trigger", "weights", "family", "style",
                  "preference", "popularity"]  # fmt: skip
    value: float
    detail: str | None = Field(None, description="What it comes from, such as the phrase found.")


class LikedBecause(BaseModel):
    """One adapter that a person's opinion of raised or lowered this one."""

    lora_id: str | None = Field(description="Null for what a person said to prefer.")
    lora_name: str
    kind: str
    share: float = Field(description="Its summand of the preference.")


class Recommendation(BaseModel):
    """One adapter; `final_score` is the sum of the addends."""

    lora_id: str
    lora_name: str
    lora_description: str | None
    similarity_score: float = Field(description="How well it fits, whatever anybody likes.")
    final_score: float = Field(description="The sum of the addends.")
    explanation: str | None = Field(
        description="Written from the addends; null if nobody wants it."
    )
    semantic_similarity: float | None = Field(description="Cosine of texts; null without vectors.")
    artistic_similarity: float | None = Field(description="Of tags and style; null without tags.")
    technical_similarity: float | None = Field(description="Of weights and format.")
    quality_boost: float | None = Field(
        description="The learned preference's addend; null where there is no feedback."
    )
    popularity_boost: float | None = Field(description="The popularity addend; null likewise.")
    recency_boost: float | None = Field(description="Null: age does not enter the score.")
    addends: list[Addend]
    because: list[LikedBecause]
    metadata: dict[str, Any]


class RecommendationAnswer(BaseModel):
    """A ranked list, with what it was made from."""

    target_lora_id: str | None = None
    prompt: str | None = None
    session_id: str
    mode: Mode = Field(description="What compared the texts: words alone, word vectors, a model.")
    hint: str | None = Field(description="What to do to get better answers, or why these are few.")
    recommendations: list[Recommendation]
    total_candidates: int = Field(description="Adapters that were looked at after all filters.")
    processing_time_ms: float
    recommendation_config: dict[str, Any] = Field(description="What was really used.")
    generated_at: str
