"""What goes in and out of the sweep route."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator

from lora_manager_core.adapters.schemas import Weight
from lora_manager_core.common.schema import RequestModel
from lora_manager_core.generation.schemas import GenerationParams, Seed

#: Pictures of one sweep.
MOST_CELLS = 100
_Id = Annotated[str, Field(max_length=100)]


class SweepRequest(RequestModel):
    """One prompt over several strengths of its LoRAs, and several seeds."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "adapter_ids": ["7d1c…"],
                "weights": [0, 0.5, 1],
                "seeds": [1, 2],
                "generation_params": {"prompt": "a fox in the snow", "steps": 20},
            }
        }
    )

    adapter_ids: Annotated[list[_Id], Field(min_length=1, max_length=50)] | None = Field(
        None, description="The adapters to sweep; without these and a stack, the active set."
    )
    stack_id: _Id | None = Field(
        None, description="Sweep this stack with its weights, instead of the active set."
    )
    weights: Annotated[list[Weight], Field(min_length=1, max_length=MOST_CELLS)] = Field(
        description="The columns: the weight of a single adapter; of several, what to multiply "
        "their own weights with. 0 is a picture without them."
    )
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MOST_CELLS)] | None = Field(
        None,
        description="The rows; -1 is a random seed, one for its row. Default: that of "
        "`generation_params`.",
    )
    generation_params: GenerationParams = Field(
        description="A token of a swept adapter in the prompt is replaced; else it is added."
    )

    @model_validator(mode="after")
    def _fits(self) -> SweepRequest:
        cells = len(self.weights) * len(self.seeds or (0,))
        if cells > MOST_CELLS:
            raise ValueError(f"{cells} pictures are too many for one sweep: at most {MOST_CELLS}")
        if self.generation_params.batch_size * self.generation_params.n_iter != 1:
            raise ValueError("batch_size and n_iter are 1 in a sweep; use more seeds")
        return self
