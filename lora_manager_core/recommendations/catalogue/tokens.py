"""Texts as the tokens that words are matched by, in every script."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lora_manager_core.embeddings.prompts import segments, words_of

#: Scripts written without spaces: Thai to Myanmar, Khmer, kana, Han and its extensions.
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+)"
)
_FIRST_UNSPACED = "\u0e00"


def tokens_of(text: str) -> list[str]:
    """The tokens of a text, in order: words without case; see `split_unspaced`."""
    return split_unspaced(words_of(text))


def split_unspaced(words: Iterable[str]) -> list[str]:
    """Words as they are, but runs of scripts without spaces as their pairs of characters.

    So a phrase inside such a run is found like one between spaces.
    """
    tokens: list[str] = []
    for word in words:
        if word.isascii() or max(word) < _FIRST_UNSPACED:
            tokens.append(word)
            continue
        for part in _UNSPACED.split(word):
            if len(part) > 1 and _UNSPACED.match(part):
                tokens.extend(part[i : i + 2] for i in range(len(part) - 1))
            elif part:
                tokens.append(part)
    return tokens


def trigger_phrases(triggers: Iterable[str]) -> dict[tuple[str, ...], str]:
    """Tokens of each trigger phrase → the phrase as it is written.

    What every prompt has (quality words, `1girl`) triggers nothing of its own and is left out.
    """
    phrases: dict[tuple[str, ...], str] = {}
    for trigger in triggers:
        for part in segments(trigger).parts:
            phrases.setdefault(tuple(tokens_of(part)), part)
    phrases.pop((), None)
    return phrases


def trigrams(word: str) -> frozenset[str]:
    """The groups of three characters of a word, its edges marked by a blank."""
    edged = f" {word} "
    return frozenset(edged[i : i + 3] for i in range(len(edged) - 2))
