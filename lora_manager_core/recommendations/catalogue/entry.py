"""What recommendations know of one adapter, apart from its vectors."""

from __future__ import annotations

from dataclasses import dataclass

from lora_manager_core.common.base_labels import SDXL_FAMILIES
from lora_manager_core.common.words import distinct_words


@dataclass(frozen=True, slots=True)
class Entry:
    """One adapter, as of the snapshot it belongs to; `tag_keys` are its tags without case."""

    pk: int
    id: str
    name: str
    version: str | None
    description: str | None
    author: str | None
    tags: tuple[str, ...]
    trained_words: tuple[str, ...]
    own_triggers: tuple[str, ...]
    archetype: str | None
    base_model: str | None
    network_type: str | None
    rank: int | None
    weight: float
    weight_min: float | None
    weight_max: float | None
    active: bool
    ordinal: int | None
    favorite: bool
    rating: int | None
    nsfw_level: int
    file_state: str
    file_problem: str | None
    file_path: str
    file_size: int
    file_mtime_ns: int
    created_at: str
    updated_at: str
    tag_keys: frozenset[str]

    @property
    def triggers(self) -> tuple[str, ...]:
        """What a person uses to trigger it, then what it was trained on, each once."""
        return tuple(distinct_words((*self.own_triggers, *self.trained_words)))

    @property
    def family(self) -> str | None:
        """The family within its architecture (Pony, Illustrious …); None where there are none."""
        return self.base_model if self.base_model in SDXL_FAMILIES else None
