"""The trigger words that go into a prompt with its adapters, each of them once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from lora_manager_core.adapters.schemas import TriggerGroup
from lora_manager_core.common.lora_tokens import strip_tokens
from lora_manager_core.common.words import comma_list
from lora_manager_core.db.models import Adapter


def trigger_words(
    adapters: Sequence[Adapter], asked: Mapping[str, Sequence[str]], prompt: str
) -> list[str]:
    """The words to add to `prompt` for these adapters, none that it has already, without case.

    Of an adapter with trigger groups: the words of its required ones, and of the optional ones that
    `asked` names for it by its id, else of those that its active set or stack has chosen. Of an
    adapter without groups: its triggers, else the words that it was trained on. A text with commas
    is several words, as Civitai writes them.
    """
    text = strip_tokens(prompt).casefold()
    added: dict[str, str] = {}
    for adapter in adapters:
        for words in _words(adapter, asked.get(adapter.id, adapter.chosen_groups)):
            for word in comma_list(words):
                key = word.casefold()
                if key not in added and not _occurs(key, text):
                    added[key] = word
    return list(added.values())


def unknown_groups(adapter: Adapter, asked: Sequence[str]) -> list[str]:
    """Those of the names that none of its groups has."""
    known = {group.name.casefold() for group in _groups(adapter)}
    return [name for name in asked if name.casefold() not in known]


def with_words(prompt: str, words: Sequence[str]) -> str:
    """The prompt with the words behind it, by commas."""
    if not words:
        return prompt
    joined = ", ".join(words)
    if not prompt:
        return joined
    return f"{prompt}{' ' if prompt.endswith((',', '>')) else ', '}{joined}"


def _words(adapter: Adapter, chosen: Sequence[str]) -> Iterator[str]:
    groups = _groups(adapter)
    if not groups:
        yield from adapter.triggers or adapter.trained_words
    wanted = {name.casefold() for name in chosen}
    for group in groups:
        if group.required or group.name.casefold() in wanted:
            yield from group.words


def _groups(adapter: Adapter) -> list[TriggerGroup]:
    return [TriggerGroup.model_validate(group) for group in adapter.trigger_groups]


def _occurs(word: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None
