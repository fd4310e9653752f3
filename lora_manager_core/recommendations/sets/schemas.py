"""What goes in and out of sets: composing one, and judging one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from lora_manager_core.common.lora_tokens import MAX_WEIGHT
from lora_manager_core.common.schema import RequestModel, ShortText, Word
from lora_manager_core.embeddings.base import Mode
from lora_manager_core.library.alike.schemas import Relation

Id = Annotated[str, Field(max_length=100)]
Weight = Annotated[float, Field(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]
PastedPrompt = Annotated[str, StringConstraints(max_length=200_000)]


class CompatibilityRequest(RequestModel):
    """A set of adapters to be judged."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"adapter_ids": ["7d1c…", "93ab…"], "weights": {}}}
    )

    adapter_ids: Annotated[list[Id], Field(min_length=1, max_length=50)]
    weights: dict[Id, Weight] = Field(
        default_factory=dict, description="By id; the others count as their records have it."
    )
    exact: bool = Field(
        False,
        description="Compare the files themselves, with the overlap of their outputs: seconds "
        "for each pair, five adapters at most.",
    )


class SetMember(BaseModel):
    """One adapter of a set."""

    lora_id: str
    lora_name: str
    base_model: str | None
    weight: float
    norm: float | None = Field(description="Frobenius norm of its change of weights.")
    strength: float | None = Field(description="Norm times the size of the weight.")
    blocks: dict[str, float] | None = Field(
        description="Where it works: its share of energy by group of blocks."
    )


class PairBlock(BaseModel):
    """Two adapters in one group of blocks."""

    cosine: float
    overlap: float
    shared_modules: int


class SetPair(BaseModel):
    """Two adapters of a set beside each other."""

    lora_ids: list[str]
    lora_names: list[str]
    cosine: float = Field(description="Of their changes of weights, -1 to 1.")
    uncertainty: float = Field(description="One standard deviation; 0 where it is exact.")
    relation: Relation
    overlap: float | None = Field(
        description="How much of one lies in the output directions of the other beyond chance, "
        "mean of both ways; null without `exact`."
    )
    shared_modules: int | None
    blocks: dict[str, PairBlock] | None
    approximate: bool = Field(description="One of the files does more than could be compared.")
    summary: str


class NotCompared(BaseModel):
    """An adapter whose weights could not be looked at."""

    lora_id: str
    lora_name: str
    reason: str


class Risk(BaseModel):
    """Something that speaks against a set, with its number; never a verdict."""

    code: Literal["near_duplicate", "strong_overlap", "opposed", "base_models_differ"]
    message: str
    lora_ids: list[str]
    value: float | None = None


class SetTotals(BaseModel):
    """The set as a whole; null where no adapter of it could be measured."""

    strength: float | None = Field(description="Sum of norm times size of weight.")
    combined: float | None = Field(
        description="Norm of all changes together: less than the sum where they differ."
    )
    mean_cosine: float | None = Field(description="Mean of the sizes of the cosines of pairs.")
    mean_overlap: float | None
    measured: int = Field(description="Adapters these figures are of.")
    blocks: dict[str, float] | None = Field(
        description="Strength by group of blocks, summed over the adapters."
    )


class CompatibilityAnswer(BaseModel):
    """How adapters get along, by their weights."""

    method: Literal["sketch", "exact"]
    adapters: list[SetMember]
    pairs: list[SetPair]
    totals: SetTotals
    risks: list[Risk]
    not_compared: list[NotCompared]
    reliability: dict[str, Any] = Field(
        description="Rank correlation of these figures with the measured damage of merging pairs."
    )
    summary: list[str] = Field(description="The same in words.")


class ComposeSetRequest(RequestModel):
    """A prompt that a set of adapters is wanted for."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"prompt": "a knight, ink drawing", "activate": True}}
    )

    prompt: PastedPrompt
    base_model: ShortText | None = Field(
        None, description="It must fit this one; without it, the loaded checkpoint."
    )
    limit: Annotated[int, Field(ge=1, le=4)] = 4
    activate: bool = Field(False, description="Make it the active set at once.")
    save_as: Word | None = Field(
        None, description="Save it at once as a stack of this name, which no other may have."
    )


class ChosenAdapter(BaseModel):
    """One adapter of a composed set."""

    lora_id: str
    lora_name: str
    segment: str = Field(description="The part of the prompt it was chosen for.")
    role: Literal["character", "style", "other"]
    score: float
    weight: float
    weight_source: Literal["own_median", "record", "range", "shared_out"]
    token: str
    trigger_words: list[str] = Field(description="Its triggers that the prompt lacks.")
    reasons: list[str]


class PassedOver(BaseModel):
    """An adapter that would have come next, and why it did not."""

    lora_id: str
    lora_name: str
    segment: str
    reason: str


class ComposedSet(BaseModel):
    """A set of adapters for a prompt."""

    session_id: str
    mode: Mode
    hint: str | None
    base_model: str | None = Field(description="What it fits.")
    prompt: str = Field(description="The prompt with the tokens.")
    tokens: list[str]
    adapters: list[ChosenAdapter]
    passed_over: list[PassedOver]
    risks: list[Risk]
    compatibility: CompatibilityAnswer | None
    activated: bool
    stack_id: str | None = Field(description="The stack it was saved as.")
    processing_time_ms: float


class SetActivated(BaseModel):
    """The active set now."""

    session_id: str
    lora_ids: list[str]
