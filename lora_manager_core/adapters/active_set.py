"""The active set as a whole: which adapters a prompt stands for, and making them the set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.common.lora_tokens import MAX_WEIGHT, LoraToken, find_tokens
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import Unprocessable


@dataclass(frozen=True, slots=True)
class StackEntry:
    """One token of a prompt; `adapter_id` is None where no adapter of that name is there."""

    name: str
    weight: float
    weight_te: float | None
    adapter_id: str | None


class ActiveSetService:
    """What is active, in which order and how strong, as one value."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_prompt(self, prompt: str) -> list[StackEntry]:
        """The tokens of a prompt with their adapters, in order."""
        with self._database.read() as session:
            return [entry for entry, _ in _resolved(Adapters(session), prompt)]

    def take_from_prompt(self, prompt: str) -> list[StackEntry]:
        """Make the adapters of a prompt the active set, with its weights and order.

        Of an adapter with several tokens the strongest counts, as in a composition. Gives what
        `of_prompt` gives; those that are missing are left out of the set.

        Raises:
            Unprocessable: a weight that no adapter may have; nothing was changed.
        """
        with self._database.write() as session:
            adapters = AdapterWriter(session)
            resolved = _resolved(adapters, prompt)
            chosen: dict[str, tuple[Adapter, StackEntry]] = {}
            for entry, adapter in resolved:
                if adapter is not None:
                    _check(entry)
                    before = chosen.get(adapter.id)
                    if before is None or entry.weight > before[1].weight:
                        chosen[adapter.id] = (adapter, entry)
            adapters.set_active(
                [a.id for a in adapters.list_active() if a.id not in chosen], active=False
            )
            for ordinal, (adapter, entry) in enumerate(chosen.values()):
                adapter.active, adapter.ordinal = True, ordinal
                adapter.weight, adapter.weight_te = entry.weight, entry.weight_te
                adapter.edited_fields = sorted({*adapter.edited_fields, "weight", "weight_te"})
                adapters.save(adapter, retag=False)
            return [entry for entry, _ in resolved]


def _resolved(adapters: Adapters, prompt: str) -> Sequence[tuple[StackEntry, Adapter | None]]:
    tokens = list(find_tokens(prompt))
    found = adapters.find_in_prompts({token.name for token in tokens})
    return [(_entry(token, found.get(token.name)), found.get(token.name)) for token in tokens]


def _entry(token: LoraToken, adapter: Adapter | None) -> StackEntry:
    return StackEntry(
        token.name if adapter is None else adapter.name,
        token.weight,
        token.number("te"),
        None if adapter is None else adapter.id,
    )


def _check(entry: StackEntry) -> None:
    for weight in (entry.weight, entry.weight_te or 0.0):
        if abs(weight) > MAX_WEIGHT:
            raise Unprocessable(
                f"“{entry.name}” has the weight {weight:g} in that prompt; an adapter's is "
                f"at most {MAX_WEIGHT:g}. Activate the adapters by hand."
            )
