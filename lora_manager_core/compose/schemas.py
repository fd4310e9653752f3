"""What goes in and out of the compose route."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lora_manager_core.adapters.schemas import ChosenGroups
from lora_manager_core.common.schema import Prompt, RequestModel

WarningCode = Literal[
    "none_active",
    "zero_weight",
    "weight_out_of_range",
    "base_model_mismatch",
    "file_missing",
    "file_unreadable",
    "duplicate_name",
    "unresolvable_name",
    "near_duplicate",
    "strong_overlap",
    "not_in_library",
    "unknown_group",
]


class DeliveryRequest(RequestModel):
    """Where the composed prompt is to go at once."""

    mode: Annotated[str, Field(min_length=1, max_length=50)]
    params: dict[str, Any] = Field(default_factory=dict)


class ComposeRequest(RequestModel):
    """What to compose; without ids, the active set."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"prefix": "a fox in the snow", "suffix": "at dusk"}}
    )

    prefix: Prompt | None = None
    suffix: Prompt | None = None
    adapter_ids: (
        Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=1000)] | None
    ) = Field(None, description="These adapters in this order, instead of the active set.")
    stack_id: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="This stack with its weights, instead of the active set."
    )
    include_triggers: bool = Field(
        False,
        description="Add trigger words behind the prompt, each once and none that it has already: "
        "those of required trigger groups and of the chosen ones; of an adapter without groups, "
        "its `triggers`, else its `trained_words`.",
    )
    trigger_groups: Annotated[
        dict[Annotated[str, Field(max_length=100)], ChosenGroups], Field(max_length=1000)
    ] = Field(
        default_factory=dict,
        description="By adapter id, the names of the optional groups to use, in place of what the "
        "record (`chosen_groups`) or the stack says; an empty list: none of them.",
    )
    delivery: DeliveryRequest | None = None


class ComposeWarning(BaseModel):
    """Something a person should know; it never stops a composition."""

    code: WarningCode
    message: str
    adapter_id: str | None = None
    name: str | None = None


class DeliveryStarted(BaseModel):
    """The job that was created with the composition."""

    id: str
    status: str


class Composition(BaseModel):
    """A prompt with the tokens of a set of adapters."""

    prompt: str
    tokens: list[str]
    warnings: list[ComposeWarning]
    trigger_words: list[str] = Field(description="The trigger words that were added.")
    delivery: DeliveryStarted | None = None


class InjectionState(BaseModel):
    """`available` is false where there is no host whose prompts could be added to."""

    available: bool
    enabled: bool


class InjectionRequest(RequestModel):
    """Switch injection on or off for good."""

    enabled: bool = Field(description="Whether the active set goes into every generation.")
