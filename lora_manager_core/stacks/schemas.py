"""What goes in and out of the stack routes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from lora_manager_core.adapters.schemas import ChosenGroups, Weight
from lora_manager_core.common.schema import LongText, Name, RequestModel, ShortText, Word

_Id = Annotated[str, Field(max_length=100)]
_Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]+$")]
#: The mark of a shared stack.
FORMAT = "lora-manager-stack"


class StackEntryRequest(RequestModel):
    """One entry of a stack: an adapter, or one of the entries that the stack has now."""

    adapter_id: _Id | None = None
    position: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Place that this entry has now; keeps entries whose file is not here."
    )
    weight: Weight | None = Field(None, description="Default: as it is now.")
    weight_te: Weight | None = Field(
        None, description="Strength of the text encoder; default: as it is now, null: none."
    )
    trigger_groups: ChosenGroups | None = Field(
        None, description="Names of the optional trigger groups to use; default: as it is now."
    )

    @model_validator(mode="after")
    def _is_one_of_two(self) -> StackEntryRequest:
        if (self.adapter_id is None) == (self.position is None):
            raise ValueError("an entry is either an adapter_id or a position of the stack")
        return self


_Entries = Annotated[list[StackEntryRequest], Field(max_length=200)]


class StackCreate(RequestModel):
    """A new stack; without `entries`, the active set with its weights and trigger groups."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Ink look"}})

    name: Word = Field(description="Names are distinct without case.")
    description: LongText | None = None
    entries: _Entries | None = None


class StackUpdate(RequestModel):
    """A change of a stack. At least one field; `entries` is all of them, in their new order."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"entries": [{"position": 1}, {"position": 0, "weight": 0.6}]}
        }
    )

    name: Word | None = None
    description: LongText | None = None
    entries: _Entries | None = None


class ApplyRequest(RequestModel):
    """How a stack is applied."""

    mode: Literal["replace", "add"] = Field(
        "replace", description="Becomes the active set, or comes to what is active."
    )


class StacksQuery(BaseModel):
    """Which stacks."""

    model_config = ConfigDict(allow_inf_nan=False, frozen=True)

    search: Annotated[str, Field(max_length=200)] = Field("", description="A part of the name.")
    page: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    per_page: Annotated[int, Field(ge=1, le=1000)] = 24


class SharedEntry(RequestModel):
    """An adapter as it is known anywhere, with its weight in the stack."""

    name: Name
    version: Annotated[str, Field(max_length=200)] | None = None
    file_name: ShortText | None = None
    sha256: Annotated[_Hex, Field(min_length=64, max_length=64)] | None = None
    autov2: Annotated[_Hex, Field(min_length=10, max_length=10)] | None = None
    base_model: Annotated[str, Field(max_length=100)] | None = None
    weight: Weight = 1.0
    weight_te: Weight | None = None
    trigger_groups: ChosenGroups = Field(default_factory=list)


class SharedStack(RequestModel):
    """A stack to be given away: one JSON document without anything of this installation."""

    format: Literal["lora-manager-stack"] = "lora-manager-stack"
    version: Literal[1] = 1
    name: Word
    description: LongText | None = None
    entries: Annotated[list[SharedEntry], Field(max_length=200)]


class StackImport(RequestModel):
    """A stack that somebody shared."""

    stack: SharedStack
    if_exists: Literal["rename", "replace", "refuse"] = Field(
        "rename",
        description="Where a stack of that name is here: number the new one, replace "
        "the one that is here, or answer 409.",
    )


class StackEntryRecord(BaseModel):
    """One entry of a stack; what its adapter says of itself now, where that is here."""

    position: int
    adapter_id: str | None = Field(description="The adapter here; null where none is it.")
    name: str
    version: str | None
    file_name: str | None
    sha256: str | None
    autov2: str | None
    base_model: str | None
    weight: float
    weight_te: float | None
    trigger_groups: list[str] = Field(description="Names of the optional groups it uses.")
    is_here: bool = Field(description="Whether it can be applied.")
    problem: str | None = Field(description="Why it cannot.")


class StackRecord(BaseModel):
    """One stack with its entries."""

    id: str
    name: str
    description: str | None
    created_at: str
    updated_at: str
    missing_count: int = Field(description="Entries that cannot be applied here.")
    entries: list[StackEntryRecord]


class StackAnswer(BaseModel):
    """One stack."""

    stack: StackRecord


class StackPage(BaseModel):
    """Stacks by name: `total` counts all, `filtered` those asked for."""

    items: list[StackRecord]
    total: int
    filtered: int
    page: int
    pages: int
    per_page: int


class StackApplied(BaseModel):
    """What applying a stack did."""

    stack_id: str
    mode: Literal["replace", "add"]
    applied: list[StackEntryRecord]
    missing: list[StackEntryRecord] = Field(description="Left out, each with its `problem`.")
