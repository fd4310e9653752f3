"""Lists of words as people write them: tags, trigger words."""

from __future__ import annotations

from collections.abc import Iterable


def distinct_words(words: Iterable[str]) -> list[str]:
    """Words without repetitions that differ in case only, in their order."""
    return list({word.casefold(): word for word in reversed(list(words))}.values())[::-1]


def comma_list(text: str | None) -> tuple[str, ...]:
    """The parts of a comma list, without blanks and empty ones."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
