"""The active set as a whole: which adapters a prompt stands for, and making them the set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_manager_core.adapters.activation import ActivationListener, nobody
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.common.lora_tokens import MAX_WEIGHT, LoraToken, find_tokens
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.errors import AdapterNotFound, Unprocessable


@dataclass(frozen=True, slots=True)
class StackEntry:
    """One token of a prompt; `adapter_id` is None where no adapter of that name is there."""

    name: str
    weight: float
    weight_te: float | None
    adapter_id: str | None


@dataclass(frozen=True, slots=True)
class ActiveAdapter:
    """What an adapter is to be in the active set.

    `groups` names the optional trigger groups to use; None leaves the choice as it is.
    """

    adapter: Adapter
    weight: float
    weight_te: float | None
    groups: Sequence[str] | None = None


class ActiveSetService:
    """What is active, in which order and how strong, as one value."""

    def __init__(self, database: Database, on_activation: ActivationListener = nobody) -> None:
        self._database = database
        self._on_activation = on_activation

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
            self.put(
                session,
                [
                    ActiveAdapter(adapter, entry.weight, entry.weight_te)
                    for adapter, entry in chosen.values()
                ],
            )
            return [entry for entry, _ in resolved]

    def take(self, weights: Mapping[str, float]) -> None:
        """Make these adapters (by id) the active set, in this order and with these weights.

        Raises:
            AdapterNotFound: ids are unknown (named in `unknown_ids`); nothing was changed.
        """
        with self._database.write() as session:
            found = AdapterWriter(session).get_many(list(weights))
            unknown = sorted(set(weights) - {adapter.id for adapter in found})
            if unknown:
                raise AdapterNotFound(
                    f"{len(unknown)} of the adapters are gone; nothing was changed.",
                    unknown_ids=unknown,
                )
            self.put(session, [ActiveAdapter(a, weights[a.id], a.weight_te) for a in found])

    def put(
        self, session: WriteSession, chosen: Sequence[ActiveAdapter], add: bool = False
    ) -> None:
        """Make these the active set, in this order, within a unit of work.

        With `add` they come behind what is active already; those that were active stay where they
        are. Who listens is told of those that come in, and not of those that give way to them:
        nobody took them out for what they are.
        """
        adapters = AdapterWriter(session)
        before = adapters.list_active()
        kept = {adapter.id for adapter in before} if add else set()
        ids = {one.adapter.id for one in chosen}
        new = [one.adapter.id for one in chosen if not one.adapter.active]
        if add:
            for ordinal, adapter in enumerate(before):
                adapter.ordinal = ordinal
        else:
            adapters.set_active([a.id for a in before if a.id not in ids], active=False)
        ordinal = len(kept)
        for one in chosen:
            adapter = one.adapter
            if adapter.id not in kept:
                adapter.active, adapter.ordinal = True, ordinal
                ordinal += 1
            adapter.weight, adapter.weight_te = one.weight, one.weight_te
            edited = {"weight", "weight_te"}
            if one.groups is not None:
                adapter.chosen_groups = list(one.groups)
                edited.add("chosen_groups")
            adapter.edited_fields = sorted({*adapter.edited_fields, *edited})
            adapters.save(adapter, retag=False)
        self._on_activation(session, new, True)


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
