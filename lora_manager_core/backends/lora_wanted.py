"""Which LoRAs a prompt asks for and how strongly, before any file is opened.

The meaning of each argument is the host's (`modules/lora/extra_networks_lora.py`, `parse`), with
its one defect left out: a LoRA named twice is applied once, at the higher strength.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lora_manager_core.common.lora_tokens import LoraToken, find_tokens

ResolveFile = Callable[[str], Path | None]

_SCHEDULE = re.compile(r"[@~]")
_IGNORED = ("dyn", "module")


@dataclass(frozen=True, slots=True)
class WantedLora:
    """One file to apply; strengths of the denoiser's down, mid and up blocks, and of the encoders.

    Layers outside those blocks go with `down`, as in the host (`network.py`, `multiplier`).
    """

    name: str
    file: Path
    down: float
    mid: float
    up: float
    text_encoder: float

    @property
    def uniform(self) -> bool:
        """Whether the denoiser has one strength everywhere."""
        return self.down == self.mid == self.up

    @property
    def strongest(self) -> float:
        """The largest of its strengths; decides between two mentions of one file."""
        return max(self.down, self.mid, self.up, self.text_encoder)


def wanted_loras(prompt: str, resolve: ResolveFile) -> tuple[list[WantedLora], list[str]]:
    """The LoRAs of `prompt` in order of mention, and what is to be said about the others."""
    wanted: dict[Path, WantedLora] = {}
    warnings: list[str] = []
    for token in find_tokens(prompt):
        token, remarks = _at_first_step(token)
        warnings.extend(remarks)
        lora = _read(token, Path())
        if not any((lora.down, lora.mid, lora.up, lora.text_encoder)):
            continue
        file = resolve(token.name)
        if file is None:
            warnings.append(
                f"No LoRA is called “{token.name}”: the picture is made without it. "
                "Names are case-sensitive; rescan the library if the file is new."
            )
            continue
        lora = replace(lora, file=file)
        earlier = wanted.get(file)
        if earlier is not None:
            lora = max(earlier, lora, key=lambda mention: mention.strongest)
            warnings.append(
                f"“{token.name}” is in the prompt more than once: "
                f"applied once, at its highest strength {lora.strongest:g}."
            )
        wanted[file] = lora
    return list(wanted.values()), warnings


def _read(token: LoraToken, file: Path) -> WantedLora:
    denoiser = token.weight

    def block(key: str) -> float:
        value = token.number(key)
        return denoiser if value is None else value

    return WantedLora(
        name=token.name,
        file=file,
        down=block("in"),
        mid=block("mid"),
        up=block("out"),
        text_encoder=token.text_encoder_weight,
    )


def _at_first_step(token: LoraToken) -> tuple[LoraToken, list[str]]:
    """The token with schedules (`1@0,0.2@0.5`) as their strength at step 0, like the host."""
    warnings: list[str] = []

    def start(text: str) -> str:
        first = _first_strength(text) if _SCHEDULE.search(text) else None
        if first is None:
            return text
        warnings.append(
            f"“{token.name}”: strength schedules are not followed; {first:g} is used for all steps."
        )
        return f"{first}"

    positional = tuple(start(text) for text in token.positional[:1]) + token.positional[1:]
    named = {key: start(value) for key, value in token.named.items() if key not in _IGNORED}
    ignored = [key for key in _IGNORED if key in token.named]
    if ignored:
        warnings.append(f"“{token.name}”: {', '.join(ignored)}= has no effect in this backend.")
    return replace(token, positional=positional, named=named), warnings


def _first_strength(schedule: str) -> float | None:
    """The strength at step 0 of `w@position` pairs (`,` or `;` between); None if it is not that."""
    points: list[tuple[float, float]] = []
    for pair in re.split(r"[,;]", schedule):
        weight, *position = _SCHEDULE.split(pair)
        try:
            points.append((float(position[0]) if position else 1.0, float(weight)))
        except ValueError:
            return None
    return min(points, key=lambda point: point[0])[1] if points else None
