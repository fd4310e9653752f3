"""Where a job of the host passes by: the active set goes into its prompt, names are translated.

`on_before_process` is the one hook that every kind of job reaches (text, image, Control, API); it
runs inside the queue lock, so it must be quick, and whatever goes wrong here must not stop a
picture.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from lora_manager_core.backends.base import PromptName
from lora_manager_ext.generation import FINAL_PROMPT
from lora_manager_ext.injection import (
    ActiveSet,
    FileOf,
    active_set,
    names_in,
    translated,
    with_active_set,
    without_doubles,
)

#: Set by the always-on script: whether this tab or API call wants the active set.
WANTED = "lora_manager_inject"
_SETTLED = "lora_manager_settled"
#: Further prompts of a job, which may hold LoRA names but are given no active set.
_MORE_PROMPTS = ("refiner_prompt", "detailer_prompt")


class Catalogue(Protocol):
    """What the hook asks the manager for; `lifecycle` provides it."""

    def injection_is_on(self) -> bool:
        """The switch that holds for good."""

    def active_tokens(self) -> Sequence[str]:
        """The composed tokens of the active set, with record names."""

    def resolve(self, names: set[str]) -> Mapping[str, PromptName]:
        """What each record's name resolves to in this host; other names are not among them."""

    def file_of(self, name: str) -> str:
        """A key that two names share when they stand for the same file."""

    def style_prompts(self, names: Sequence[str]) -> Sequence[str]:
        """The prompts of the host's styles of these names."""


@dataclass(frozen=True, slots=True)
class _Settled:
    """What we made of a job: recognised when the same job passes by a second time."""

    prompt: Any
    added: tuple[str, ...]
    names: frozenset[str]


class PromptHook:
    """`catalogue` gives the manager, or None while it has not started."""

    def __init__(self, catalogue: Callable[[], Catalogue | None], log: logging.Logger) -> None:
        self._catalogue = catalogue
        self._log = log
        self._told: set[str] = set()

    def before_process(self, p: Any) -> None:
        """Callback `on_before_process`: settle the prompts of a job."""
        try:
            catalogue = self._catalogue()
            if catalogue is not None and not getattr(p, FINAL_PROMPT, False):
                self._settle(p, catalogue)
        except Exception as error:  # noqa: BLE001 - the host's border: generation goes on
            self._tell_error(error)

    def process(self, p: Any) -> None:
        """After the host has added styles and wildcards: their names and doubles, too."""
        try:
            catalogue, settled = self._catalogue(), getattr(p, _SETTLED, None)
            if catalogue is not None and settled is not None:
                self._settle_late(p, catalogue, settled)
        except Exception as error:  # noqa: BLE001 - as above
            self._tell_error(error)

    def _settle(self, p: Any, catalogue: Catalogue) -> None:
        before = getattr(p, _SETTLED, None)
        if before is not None and before.prompt == p.prompt:
            return
        prompts = p.prompt if isinstance(p.prompt, list) else [p.prompt or ""]
        ready = getattr(p, "all_prompts", None) or []
        more = [str(getattr(p, name, None) or "") for name in _MORE_PROMPTS]
        wanted = getattr(p, WANTED, True) and catalogue.injection_is_on()
        tokens = catalogue.active_tokens() if wanted else ()
        names = catalogue.resolve(names_in([*prompts, *ready, *more, *tokens]))
        file_of = cache(catalogue.file_of)
        active = active_set(tokens, names, file_of)
        self._tell([*active.problems, *_unresolved([*prompts, *ready, *more], names)])

        def _done(texts: Sequence[str]) -> list[str]:
            said = [translated(text, names) for text in texts]
            return _with_active_set(said, active, p, catalogue, file_of)

        done = _done(prompts)
        p.prompt = done if isinstance(p.prompt, list) else done[0]
        if ready:
            p.all_prompts = _done(ready)
        for name, text in zip(_MORE_PROMPTS, more, strict=True):
            if text:
                setattr(p, name, translated(text, names))
        known = frozenset(names_in([*done, *(p.all_prompts or [])]))
        setattr(p, _SETTLED, _Settled(p.prompt, active.tokens, known))

    def _settle_late(self, p: Any, catalogue: Catalogue, settled: _Settled) -> None:
        prompts = list(p.all_prompts or [])
        new = names_in(prompts) - settled.names
        if not new:
            return
        names = catalogue.resolve(new)
        self._tell(_unresolved(prompts, names))
        file_of = cache(catalogue.file_of)
        p.all_prompts = [
            without_doubles(translated(prompt, names), settled.added, file_of) for prompt in prompts
        ]

    def _tell(self, problems: Iterable[str]) -> None:
        for problem in problems:
            if problem not in self._told:
                self._told.add(problem)
                self._log.warning("LoRA Manager: %s", problem)

    def _tell_error(self, error: Exception) -> None:
        key = f"{type(error).__name__}: {error}"
        if key not in self._told:
            self._told.add(key)
            self._log.exception("LoRA Manager: this job's prompt was left as it is")


def _with_active_set(
    prompts: Sequence[str], active: ActiveSet, p: Any, catalogue: Catalogue, file_of: FileOf
) -> list[str]:
    if not active.tokens:
        return list(prompts)
    styles = getattr(p, "styles", None) or []
    in_styles = names_in(catalogue.style_prompts(styles)) if styles else set()
    resolved = catalogue.resolve(in_styles)
    held = {target.name for target in resolved.values() if target.name}
    batch_size = int(getattr(p, "batch_size", 1) or 1)
    return with_active_set(prompts, active, file_of, batch_size, held | (in_styles - set(resolved)))


def _unresolved(prompts: Iterable[str], names: Mapping[str, PromptName]) -> list[str]:
    return [
        f"“{name}” cannot be applied: {names[name].problem}"
        for name in sorted(names_in(prompts))
        if name in names and names[name].name is None
    ]


def make_script(base: type[Any], always_visible: Any, title: str, hook: PromptHook) -> type[Any]:
    """The always-on script: a checkbox in each tab, and one argument for API calls.

    A function, because its base class exists only inside the host, which wants the class itself
    and makes one object of it for each tab.
    """

    class LoraManagerScript(base):  # type: ignore[misc]  # known at run time only
        def title(self) -> str:
            return title

        def show(self, _is_img2img: bool) -> Any:
            return always_visible

        def ui(self, _is_img2img: bool) -> list[Any]:
            import gradio as gr

            box = gr.Checkbox(
                label="Inject active LoRA set",
                value=True,
                elem_id=self.elem_id("inject"),
                elem_classes=["lora-manager-inject"],
            )
            return [box]

        def before_process(self, p: Any, wanted: Any = True, *_args: Any) -> None:
            setattr(p, WANTED, wanted is None or bool(wanted))

        def process(self, p: Any, *_args: Any) -> None:
            hook.process(p)

    return LoraManagerScript
