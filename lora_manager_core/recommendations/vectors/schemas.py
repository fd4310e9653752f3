"""What goes in and out of `/recommendations/embeddings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from lora_manager_core.common.schema import RequestModel

AdapterId = Annotated[str, StringConstraints(min_length=1, max_length=36)]


class EmbeddingRequest(RequestModel):
    """What to compute: some adapters, or with `compute_all` every one."""

    adapter_ids: list[AdapterId] = Field(default=[], max_length=10_000)
    force_recompute: bool = Field(
        default=False, description="Also what is current, and what failed for the same text."
    )
    compute_all: bool = False
    batch_size: int = Field(
        default=32, ge=1, le=128, description="Texts embedded and stored at once."
    )
    background: bool = Field(
        default=False, description="Answer at once with 202 and the jobs that do it."
    )


class OneEmbeddingRequest(RequestModel):
    """How to compute the embeddings of one adapter."""

    force_recompute: bool = False
    background: bool = False


class EmbeddingError(BaseModel):
    """Why one adapter has no embedding of one kind."""

    adapter_id: str
    kind: Literal["text", "weights"]
    detail: str


class EmbeddingReport(BaseModel):
    """What a computation came to."""

    processed_count: int = Field(description="Adapters of which something was computed.")
    skipped_count: int = Field(description="Adapters of which nothing had to be computed.")
    error_count: int = Field(description="Embeddings that failed, each kind by itself.")
    processing_time_seconds: float
    errors: list[EmbeddingError] = Field(description="The first hundred of each kind.")
    completed_at: str | None = Field(description="Null while it goes on in the background.")
    job_id: str = Field(description="The job that embeds texts, else the one of weights.")
    job_ids: dict[str, str] = Field(description="The job of each kind: `text`, `weights`.")


class TextEmbedding(BaseModel):
    """How it stands with the texts of one adapter."""

    state: Literal["current", "stale", "missing", "failed", "no_text"]
    problem: str | None = None
    model: str | None = Field(default=None, description="Key of the model that made it.")
    computed_at: str | None = None


class BlockProfile(BaseModel):
    """How much an adapter changes one group of blocks."""

    share: float = Field(description="Of the energy of all changes, 0 to 1.")
    norm: float
    modules: int


class WeightProfile(BaseModel):
    """How strong an adapter is, and where, and how much of its rank it uses."""

    norm: float = Field(description="Frobenius norm of its change of weights.")
    modules: int
    blocks: dict[str, BlockProfile]
    rank: int | None = Field(description="The commonest rank.")
    spectrum: list[float] = Field(description="Share of energy by singular value, largest first.")
    effective_rank: float | None
    r95: float | None = Field(description="How many singular values hold 95 % of the energy.")
    resize_to: int | None = Field(description="A rank that would do, if half of it is not used.")


class WeightEmbedding(BaseModel):
    """How it stands with the weights of one adapter."""

    state: Literal["current", "stale", "missing", "failed", "no_file"]
    problem: str | None = None
    approximate: bool = Field(
        default=False, description="The file does more than could be compared."
    )
    profile: WeightProfile | None = None
    computed_at: str | None = None


class EmbeddingStatus(BaseModel):
    """The embeddings of one adapter: semantic = text, artistic = tags, technical = weights."""

    lora_id: str
    has_semantic_embedding: bool
    has_artistic_embedding: bool
    has_technical_embedding: bool
    has_extracted_features: bool
    last_computed: str | None
    needs_recomputation: bool
    text: TextEmbedding
    weights: WeightEmbedding


class EmbeddingJob(BaseModel):
    """A computation that waits or runs."""

    id: str
    kind: str
    status: str
    progress: float
    done: int | None
    total: int | None
    per_second: float | None = Field(description="Null until something was computed.")
    eta_s: float | None
    message: str | None


class TextModelState(BaseModel):
    """One text model as it is now."""

    mode: Literal["lexical", "static", "semantic"]
    model: str
    status: Literal["absent", "idle", "loading", "ready", "failed"]
    problem: str | None
    memory_bytes: int


class EmbeddingCoverage(BaseModel):
    """How much of the catalogue is embedded, what is at work, and which models there are."""

    total: int
    text: dict[str, int] = Field(description="Adapters by the state of their texts.")
    weights: dict[str, int] = Field(description="Adapters by the state of their weights.")
    jobs: list[EmbeddingJob]
    mode: Literal["lexical", "static", "semantic"] = Field(
        description="How a query would be answered now."
    )
    hint: str | None = Field(description="What to do, or to wait for, to get better answers.")
    models: list[TextModelState]
