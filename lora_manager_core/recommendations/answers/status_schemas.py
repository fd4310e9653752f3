"""What comes out of `/recommendations/stats`, `/health` and `/index/rebuild`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from lora_manager_core.embeddings.base import Mode


class IndexRebuilt(BaseModel):
    """What came of reading everything anew, which nobody has to ask for."""

    status: Literal["rebuilt", "skipped", "empty"] = Field(
        description="`skipped`: it was up to date already; `force=true` reads it anew all the same."
    )
    indexed_items: int
    index_size_bytes: int = Field(description="What the vectors in memory take.")
    processing_time_seconds: float
    rebuilt_at: str = Field(description="When the index was last brought up to date.")
    message: str


class AnswerSpeed(BaseModel):
    """The latest answers of one kind, up to 1,000."""

    count: int
    p50_ms: float
    p95_ms: float


class RecommendationStats(BaseModel):
    """Measured since the start of this process; null where there is nothing to measure yet."""

    total_loras: int
    loras_with_embeddings: int = Field(description="With a vector of their present text or tags.")
    embedding_coverage: float | None = Field(description="Their share; null of an empty library.")
    loras_with_weight_sketches: int
    weight_coverage: float | None
    avg_recommendation_time_ms: float | None
    answers: dict[str, AnswerSpeed] = Field(description="By kind of question.")
    cache_hit_rate: float | None = Field(
        description="Share of the parts of queries whose vectors were known already."
    )
    total_sessions: int = Field(description="Answers that feedback can still refer to.")
    user_preferences_count: int
    feedback_count: int
    model_memory_usage_gb: float | None = Field(description="Null while no model is loaded.")
    index_size_bytes: int
    last_index_update: str | None
    mode: Mode


class ModelHealth(BaseModel):
    """One text model as it is now."""

    mode: Mode
    model: str
    status: Literal["absent", "idle", "loading", "ready", "failed"]
    problem: str | None
    memory_bytes: int


class IndexHealth(BaseModel):
    """The catalogue in memory; the next question brings it up to date."""

    fresh: bool
    last_update: str | None
    stale: int = Field(description="Vectors and sketches that lack or are of an older state.")


class RecommendationHealth(BaseModel):
    """Whether answers are as good as they can be, and why not."""

    status: Literal["healthy", "degraded"]
    reasons: list[str]
    mode: Mode
    extras: dict[str, bool] = Field(description="Which optional parts are installed.")
    models: list[ModelHealth]
    index: IndexHealth
