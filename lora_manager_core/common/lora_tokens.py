"""The `<lora:NAME:WEIGHT:key=value>` token: reading, writing and renaming it in a prompt.

Syntax and limits are SD.Next's own (`modules/extra_networks.py` of the host, pattern
`<(\\w+):([^>]+)>`, arguments split on `:`, those with one `=` named). Which file a name stands for
is not decided here; see `backends.prompt_names`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

#: The strongest an adapter may be, in either direction.
MAX_WEIGHT = 100.0

_TOKEN = re.compile(r"<lora:([^>]+)>")
_UNWRITABLE = re.compile(r"[:<>=\r\n]")


@dataclass(frozen=True, slots=True)
class LoraToken:
    """One token as it stands in a prompt; `start` and `end` are its place in that prompt."""

    name: str
    positional: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    start: int = 0
    end: int = 0

    def number(self, key: str) -> float | None:
        """The finite number given as `key=…`, else None (schedules like `0.5@3` included)."""
        return _number(self.named.get(key))

    @property
    def weight(self) -> float:
        """The strength of the denoiser: `unet=`, else `te=`, else the first number, else 1.0.

        That `te=` alone moves the denoiser too is SD.Next's rule (`parse` in its
        `modules/lora/extra_networks_lora.py`).
        """
        unet = self.number("unet")
        return self.text_encoder_weight if unet is None else unet

    @property
    def text_encoder_weight(self) -> float:
        """The strength of the text encoders: `te=`, else the first bare number, else 1.0."""
        te = self.number("te")
        if te is not None:
            return te
        bare = _number(self.positional[0]) if self.positional else None
        return 1.0 if bare is None else bare


def unwritable_characters(name: str) -> str:
    """The characters of `name` that a token cannot hold (`:` `<` `>` `=` and line breaks)."""
    return "".join(dict.fromkeys(_UNWRITABLE.findall(name)))


def writable_name(name: str) -> str:
    """`name` with every character a token cannot hold turned into `_`."""
    return _UNWRITABLE.sub("_", name)


def format_token(
    name: str, weight: float, options: Mapping[str, float | int | str] | None = None
) -> str:
    """`<lora:NAME:0.800>`, with the named arguments (`te`, `unet`, `in`, `dyn` …) behind."""
    parts = [f"<lora:{name}:{weight:.3f}"]
    for key, value in (options or {}).items():
        parts.append(f"{key}={value:.3f}" if isinstance(value, float) else f"{key}={value}")
    return ":".join(parts) + ">"


def find_tokens(prompt: str) -> Iterator[LoraToken]:
    """Every LoRA token of a prompt, in order."""
    for match in _TOKEN.finditer(prompt):
        name, *arguments = match.group(1).split(":")
        positional: list[str] = []
        named: dict[str, str] = {}
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if equals and "=" not in value:
                named[key] = value
            else:
                positional.append(argument)
        yield LoraToken(name, tuple(positional), named, match.start(), match.end())


def strip_tokens(prompt: str) -> str:
    """The prompt without its LoRA tokens, the way the text encoder is to see it."""
    return re.sub(r"[ \t]{2,}", " ", _TOKEN.sub("", prompt)).strip()


def rename_tokens(prompt: str, rename: Callable[[str], str | None]) -> str:
    """The prompt with each token's NAME replaced by `rename(NAME)`; None leaves it as typed."""

    def _replace(match: re.Match[str]) -> str:
        name, colon, rest = match.group(1).partition(":")
        renamed = rename(name)
        return match.group(0) if renamed is None else f"<lora:{renamed}{colon}{rest}>"

    return _TOKEN.sub(_replace, prompt)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
