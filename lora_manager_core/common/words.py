"""Lists of words as people write them: tags, trigger words, what to search for; names by number."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_SEARCHED = re.compile(r'"([^"]*)"|(\S+)')


def distinct_words(words: Iterable[str]) -> list[str]:
    """Words without repetitions that differ in case only, in their order."""
    return list({word.casefold(): word for word in reversed(list(words))}.values())[::-1]


def word_key(word: str) -> str:
    """A word without case, by which it is found; at most 200 characters, as words have."""
    return word.casefold()[:200]


def comma_list(text: str | None) -> tuple[str, ...]:
    """The parts of a comma list, without blanks and empty ones."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def search_words(text: str) -> list[str]:
    """The words and quoted phrases of a search, without case."""
    found = (quoted or bare for quoted, bare in _SEARCHED.findall(text))
    return [word.casefold() for word in found if word.strip()]


def numbered_name(name: str, taken: Collection[str]) -> str:
    """`name`, or where that is taken the first free one of `name 2`, `name 3` …"""
    if name not in taken:
        return name
    number = 2
    while f"{name} {number}" in taken:
        number += 1
    return f"{name} {number}"
