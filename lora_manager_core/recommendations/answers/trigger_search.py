"""Looks for triggers by what a person typed of them."""

from __future__ import annotations

from collections.abc import Iterator

from lora_manager_core.recommendations.catalogue.snapshot import Snapshot
from lora_manager_core.recommendations.catalogue.tokens import tokens_of

_SEQUENCE = 0.6
_LETTERS = 0.6
_SPELT = 0.5

#: Row → score 0 … 1, the trigger, and in words how it matches.
Found = dict[int, tuple[float, str, str]]


def find_triggers(snapshot: Snapshot, query: str) -> Found:
    """The best trigger of every row that has one like the query.

    1: the very words. 0.6 to 0.9: all words of the one are in the other, in order, the more the
    better. Up to 0.6: the letters are a part of it. Up to 0.5: it is spelt alike.
    """
    found: Found = {}
    for row, match in _matches(snapshot, query):
        if match[0] > found.get(row, (0.0,))[0]:
            found[row] = match
    return found


def _matches(snapshot: Snapshot, query: str) -> Iterator[tuple[int, tuple[float, str, str]]]:
    typed = " ".join(query.split()).casefold()
    asked = tokens_of(query)
    for adapter_id, phrase in snapshot.words.triggered(asked).items():
        row = snapshot.row_of.get(adapter_id)
        if row is None or phrase not in snapshot.words.phrases(row):
            continue
        written = snapshot.words.phrases(row)[phrase]
        if len(phrase) == len(asked):
            yield row, (1.0, written, "is what was asked for")
        else:
            share = len(phrase) / len(asked)
            yield row, (_SEQUENCE + 0.3 * share, written, "is among what was asked for")
    for trigger, rows in snapshot.words.triggers_with(typed):
        if trigger == typed:
            match = (1.0, trigger, "is what was asked for")
        elif _is_inside(asked, tokens_of(trigger)):
            share = len(typed) / len(trigger)
            match = (_SEQUENCE + 0.3 * share, trigger, f"has the words “{typed}” in it")
        else:
            match = (_LETTERS * len(typed) / len(trigger), trigger, f"has “{typed}” in it")
        yield from ((row, match) for row in rows)
    for trigger, alike, rows in snapshot.words.triggers_like(typed):
        match = (_SPELT * alike, trigger, f"is spelt like “{typed}”")
        yield from ((row, match) for row in rows)


def _is_inside(part: list[str], whole: list[str]) -> bool:
    length = len(part)
    return any(whole[start : start + length] == part for start in range(len(whole) - length + 1))
