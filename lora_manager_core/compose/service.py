"""Composes a set of adapters into prompt tokens, with every warning a person should see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from lora_manager_core.common.lora_tokens import format_token
from lora_manager_core.compose.choice import choose
from lora_manager_core.compose.schemas import (
    ComposeRequest,
    ComposeWarning,
    Composition,
    DeliveryRequest,
    DeliveryStarted,
)
from lora_manager_core.compose.triggers import trigger_words, unknown_groups, with_words
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database, ReadSession, WriteSession
from lora_manager_core.errors import InvalidRequest
from lora_manager_core.library.base_model import compatible
from lora_manager_core.stacks.resolving import ResolvedEntry


class DeliveryOpener(Protocol):
    """Creates a delivery within a unit of work; `generation` provides it."""

    def __call__(
        self, session: WriteSession, prompt: str, request: DeliveryRequest
    ) -> DeliveryStarted:
        """Validate the request and add its job; raises `Unprocessable` for an unknown mode."""


#: Tells of what the adapters of a composition do to each other; at once, for it is always asked.
LookAtSet = Callable[[ReadSession, Sequence[Adapter]], Sequence[ComposeWarning]]


class ComposeService:
    """`loaded_base_model` gives the base model of the loaded checkpoint, or None if unknown."""

    def __init__(
        self,
        database: Database,
        loaded_base_model: Callable[[], str | None],
        open_delivery: DeliveryOpener,
        look_at_set: LookAtSet = lambda _session, _adapters: (),
    ) -> None:
        self._database = database
        self._loaded_base_model = loaded_base_model
        self._open_delivery = open_delivery
        self._look_at_set = look_at_set

    def compose(self, request: ComposeRequest) -> Composition:
        """The prompt for the active set, or for the adapters asked for; delivered if asked.

        Raises:
            AdapterNotFound: ids are unknown (named in `unknown_ids`).
            StackNotFound: no such stack.
            InvalidRequest: a delivery of nothing, or a stack and other adapters at once.
        """
        if request.delivery is None:
            with self._database.read() as session:
                return self._compose(session, request)
        with self._database.write() as writing:
            composition = self._compose(writing, request)
            if not composition.prompt:
                raise InvalidRequest(
                    "There is nothing to deliver: no adapter is active and no text was given."
                )
            composition.delivery = self._open_delivery(
                writing, composition.prompt, request.delivery
            )
            return composition

    def _compose(self, session: ReadSession, request: ComposeRequest) -> Composition:
        chosen = choose(session, request.adapter_ids, request.stack_id)
        adapters = chosen.adapters
        warnings = [_not_here(entry) for entry in chosen.missing]
        if not adapters and not chosen.missing:
            warnings.append(
                ComposeWarning(
                    code="none_active",
                    message="No adapter is active; activate some to compose them.",
                )
            )
        emitted, more = _one_per_name(adapters)
        warnings += more
        loaded = self._loaded_base_model()
        tokens = []
        for adapter in emitted:
            warnings += _warnings(adapter, loaded)
            if adapter.weight != 0:
                tokens.append(token_of(adapter))
        warnings += self._look_at_set(session, emitted)
        parts = [(request.prefix or "").strip(), *tokens, (request.suffix or "").strip()]
        prompt = " ".join(part for part in parts if part)
        words: list[str] = []
        if request.include_triggers:
            applied = [adapter for adapter in emitted if adapter.weight != 0]
            words = trigger_words(applied, request.trigger_groups, prompt)
            warnings += _unknown_groups(emitted, request.trigger_groups)
        return Composition(
            prompt=with_words(prompt, words), tokens=tokens, warnings=warnings, trigger_words=words
        )


def token_of(adapter: Adapter, weight: float | None = None) -> str:
    """The token of one adapter: its record's name, its weight, `te=` where a person set one.

    With `te=` alone SD.Next would use that value for the denoiser too, so `unet=` goes with it.
    Another `weight` takes the place of the record's.
    """
    weight = adapter.weight if weight is None else weight
    options = {} if adapter.weight_te is None else {"te": adapter.weight_te, "unet": weight}
    return format_token(adapter.name, weight, options)


def _not_here(entry: ResolvedEntry) -> ComposeWarning:
    name = entry.content()["name"]
    return ComposeWarning(
        code="not_in_library",
        message=f"“{name}” of the stack is left out: {entry.problem}",
        adapter_id=entry.adapter.id if entry.adapter is not None else None,
        name=name,
    )


def _unknown_groups(
    adapters: Sequence[Adapter], asked: Mapping[str, Sequence[str]]
) -> list[ComposeWarning]:
    """Of what was asked for in this request: a stored choice may be of a group that is gone."""
    return [
        ComposeWarning(
            code="unknown_group",
            message=f"“{adapter.name}” has no trigger group named “{name}”.",
            adapter_id=adapter.id,
            name=adapter.name,
        )
        for adapter in adapters
        for name in unknown_groups(adapter, asked.get(adapter.id, ()))
    ]


def _one_per_name(adapters: Sequence[Adapter]) -> tuple[list[Adapter], list[ComposeWarning]]:
    """SD.Next renders the same LoRA twice wrongly: of one name, the highest weight stays."""
    by_name: dict[str, Adapter] = {}
    warnings = []
    for adapter in adapters:
        other = by_name.get(adapter.name)
        if other is None:
            by_name[adapter.name] = adapter
            continue
        kept = adapter if adapter.weight > other.weight else other
        by_name[adapter.name] = kept
        warnings.append(
            ComposeWarning(
                code="duplicate_name",
                message=f"“{adapter.name}” is in the set more than once; "
                f"only the weight {kept.weight:g} is used.",
                adapter_id=kept.id,
                name=adapter.name,
            )
        )
    return list(by_name.values()), warnings


def _warnings(adapter: Adapter, loaded: str | None) -> list[ComposeWarning]:
    found: list[ComposeWarning] = []

    def _warn(code: str, message: str) -> None:
        found.append(
            ComposeWarning.model_validate(
                {"code": code, "message": message, "adapter_id": adapter.id, "name": adapter.name}
            )
        )

    name, weight = adapter.name, adapter.weight
    low, high = adapter.weight_min, adapter.weight_max
    if weight == 0:
        _warn("zero_weight", f"“{name}” has weight 0 and is left out; raise it to use it.")
    elif (low is not None and weight < low) or (high is not None and weight > high):
        bounds = f"{'…' if low is None else f'{low:g}'} to {'…' if high is None else f'{high:g}'}"
        _warn("weight_out_of_range", f"“{name}” is at {weight:g}, outside its range {bounds}.")
    if adapter.file_state == "missing":
        _warn(
            "file_missing",
            f"The file of “{name}” is missing; put it back or scan the library again.",
        )
    elif adapter.file_problem:
        _warn("file_unreadable", f"The file of “{name}” cannot be used: {adapter.file_problem}")
    elif adapter.prompt_name is None and adapter.prompt_name_problem:
        _warn(
            "unresolvable_name",
            f"SD.Next cannot find the file of “{name}”: {adapter.prompt_name_problem}",
        )
    base = adapter.base_model
    if base and loaded and not compatible(base, loaded):
        _warn(
            "base_model_mismatch",
            f"“{name}” was made for {base}, the loaded checkpoint is {loaded}; "
            "it will do little or nothing.",
        )
    return found
