"""Which adapters are as somebody said they prefer them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lora_manager_core.library.base_model import architecture_of, normalise_label

if TYPE_CHECKING:
    from lora_manager_core.recommendations.taste.repository import StatedPreference
    from lora_manager_core.recommendations.taste.scores import KnownAdapter

#: A preference of such a kind is met by one of these traits.
_MET_BY = {
    "tag": ("tag",),
    "author": ("author",),
    "archetype": ("archetype",),
    "style": ("tag", "archetype"),
    "technical": ("base", "network"),
}


def matching(
    preferences: Sequence[StatedPreference], entries: Sequence[KnownAdapter]
) -> list[list[int]]:
    """For each preference the rows of the adapters that meet it.

    Values are compared without case; a base model also by its usual spellings, and `SDXL` is met by
    its families (Pony, …), too.
    """
    wanted: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, stated in enumerate(preferences):
        for trait in _MET_BY[stated.kind]:
            value = stated.value_key
            if trait == "base":
                value = (normalise_label(stated.value) or stated.value).casefold()
            wanted[trait, value].add(number)
    found: list[list[int]] = [[] for _ in preferences]
    if not wanted:
        return found
    for row, entry in enumerate(entries):
        met = {n for trait in traits(entry) if trait in wanted for n in wanted[trait]}
        for number in met:
            found[number].append(row)
    return found


def traits(entry: KnownAdapter) -> Iterator[tuple[str, str]]:
    """What can be preferred of an adapter: trait and value without case."""
    for tag in entry.tags:
        yield "tag", tag.casefold()
    if entry.author:
        yield "author", entry.author.casefold()
    if entry.archetype:
        yield "archetype", entry.archetype.casefold()
    if entry.network_type:
        yield "network", entry.network_type.casefold()
    if entry.base_model:
        yield "base", entry.base_model.casefold()
        yield "base", architecture_of(entry.base_model).casefold()
