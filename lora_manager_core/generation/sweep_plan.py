"""The cells of a sweep: which prompt and seed each has, and what the grid calls it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lora_manager_core.common.lora_tokens import find_tokens, format_token
from lora_manager_core.db.models import Adapter


@dataclass(frozen=True, slots=True)
class SweptAdapter:
    """An adapter as it was when the sweep was ordered."""

    id: str
    name: str
    prompt_name: str | None
    weight: float
    weight_te: float | None

    @classmethod
    def of(cls, adapter: Adapter) -> SweptAdapter:
        """What a sweep needs to know of a record."""
        return cls(adapter.id, adapter.name, adapter.prompt_name, adapter.weight, adapter.weight_te)

    def token(self, factor: float) -> str:
        """Its token with its weights times `factor`; none at all at weight 0."""
        weight = round(self.weight * factor, 3)
        if weight == 0:
            return ""
        if self.weight_te is None:
            return format_token(self.name, weight)
        return format_token(self.name, weight, {"te": self.weight_te * factor, "unet": weight})

    def at(self, weight: float) -> str:
        """Its token at that weight; the text encoder's keeps its ratio."""
        if self.weight == 0:
            return "" if weight == 0 else format_token(self.name, weight)
        return self.token(weight / self.weight)


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of the sweep."""

    weight: float
    seed: int
    prompt: str


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """Weights are columns, seeds are rows; cells go row by row."""

    prompt: str
    adapters: tuple[SweptAdapter, ...]
    weights: tuple[float, ...]
    seeds: tuple[int, ...]

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> SweepPlan:
        """The plan of a stored job."""
        sweep = payload["sweep"]
        return cls(
            payload["params"]["prompt"],
            tuple(SweptAdapter(**adapter) for adapter in sweep["adapters"]),
            tuple(sweep["weights"]),
            tuple(sweep["seeds"]),
        )

    def payload(self) -> dict[str, Any]:
        """What of it goes into a job besides the prompt."""
        return {
            "adapters": [asdict(adapter) for adapter in self.adapters],
            "weights": list(self.weights),
            "seeds": list(self.seeds),
        }

    @property
    def cells(self) -> list[Cell]:
        """Every picture, row by row."""
        prompts = [self._prompt(weight) for weight in self.weights]
        return [
            Cell(weight, seed, prompt)
            for seed in self.seeds
            for weight, prompt in zip(self.weights, prompts, strict=True)
        ]

    @property
    def columns(self) -> list[str]:
        """What stands above the columns."""
        word = "weight " if len(self.adapters) == 1 else "weights x "
        return [f"{word}{weight:g}" for weight in self.weights]

    @property
    def rows(self) -> list[str]:
        """What stands before the rows."""
        return [f"seed {seed}" for seed in self.seeds]

    def _prompt(self, weight: float) -> str:
        if len(self.adapters) == 1:
            tokens = [self.adapters[0].at(weight)]
        else:
            tokens = [adapter.token(weight) for adapter in self.adapters]
        return with_tokens(self.prompt, self.adapters, tokens)


def with_tokens(prompt: str, adapters: Sequence[SweptAdapter], tokens: Sequence[str]) -> str:
    """The prompt with these adapters' tokens: in place of the first there is of each, else added.

    An adapter may stand in the prompt by its record's name or by its file's.
    """
    owners = {
        name: number
        for number, adapter in enumerate(adapters)
        for name in (adapter.prompt_name, adapter.name)
    }
    parts, place, written = [], 0, set()
    for token in find_tokens(prompt):
        number = owners.get(token.name)
        if number is None:
            continue
        parts += [prompt[place : token.start], "" if number in written else tokens[number]]
        place = token.end
        written.add(number)
    parts.append(prompt[place:])
    text = re.sub(r"[ \t]{2,}", " ", "".join(parts)).strip()
    added = (token for number, token in enumerate(tokens) if number not in written and token)
    return " ".join((text, *added)) if text else " ".join(added)
