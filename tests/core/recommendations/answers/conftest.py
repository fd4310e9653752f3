"""A small embedded library, and the services that answer from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.base import TextEmbedder
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.recommendations.answers.queries import QueryVectors
from lora_manager_core.recommendations.answers.schemas import (
    ForPromptRequest,
    Recommendation,
    RecommendationAnswer,
    SimilarQuery,
    TriggerQuery,
)
from lora_manager_core.recommendations.answers.service import RecommendationService
from lora_manager_core.recommendations.answers.status import RecommendationStatus
from lora_manager_core.recommendations.answers.times import AnswerTimes
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.taste.scores import Taste
from lora_manager_core.recommendations.taste.sessions import SessionLog
from tests.fakes.embedded_adapters import add_adapter, embed
from tests.fakes.word_embedder import WordEmbedder

#: Name, description, tags, triggers, base model.
LIBRARY = (
    ("ink", "ink wash painting of misty mountains", ["ink", "landscape"], ["sumi stroke"], "SDXL"),
    ("brush", "ink brush painting of rivers", ["ink", "painting"], ["brushy"], "SDXL"),
    ("neon", "cyberpunk city at night with neon signs", ["city"], ["neonpunk"], "SDXL"),
    ("oil", "oil portrait of a noble lady", ["portrait", "painting"], ["oilport"], "SD 1.5"),
    ("pony", "cartoon ponies in a meadow", ["cartoon"], ["ponyx"], "Pony"),
    ("clay", "stop motion clay puppets", [], ["clay anim"], None),
)


@dataclass
class Asking:
    """Questions to one library; `loaded` is the base model of the checkpoint."""

    database: Database
    embedder: WordEmbedder | None
    ids: dict[str, str] = field(default_factory=dict)
    loaded: str | None = None

    def __post_init__(self) -> None:
        self.tiers = TextTiers(self.embedder)
        self.index = CatalogueIndex(self.database, self.tiers, lambda: None)
        self.sessions = SessionLog(self.database)
        times, queries = AnswerTimes(), QueryVectors()
        self.service = RecommendationService(
            self.database,
            self.index,
            self.tiers,
            Taste(self.database),
            self.sessions,
            lambda: self.loaded,
            times,
            queries,
        )
        self.status = RecommendationStatus(self.database, self.index, self.tiers, times, queries)

    def add(self, name: str, **fields: Any) -> str:
        """Add an adapter, not embedded."""
        self.ids[name] = add_adapter(self.database, name, **fields)
        return self.ids[name]

    def embed(self, embedder: TextEmbedder) -> None:
        """Embed all adapters."""
        embed(self.database, embedder)

    def prompt(self, prompt: str, **fields: Any) -> RecommendationAnswer:
        """An answer for a prompt; nothing is spread unless asked for."""
        fields = {"diversify_results": False, **fields}
        return self.service.for_prompt(ForPromptRequest(prompt=prompt, **fields))

    def similar(self, name: str, **fields: Any) -> RecommendationAnswer:
        """What is like the adapter of that name."""
        fields = {"diversify_results": False, **fields}
        return self.service.similar(self.ids[name], SimilarQuery(**fields))

    def trigger(self, query: str, **fields: Any) -> RecommendationAnswer:
        """What has that trigger."""
        return self.service.by_trigger(TriggerQuery(trigger_query=query, **fields))


def names(answer: RecommendationAnswer) -> list[str]:
    """The names in an answer, in its order."""
    return [item.lora_name for item in answer.recommendations]


def item_of(answer: RecommendationAnswer, name: str) -> Recommendation:
    """The one of that name."""
    return next(item for item in answer.recommendations if item.lora_name == name)


def _fill(asking: Asking) -> None:
    for name, description, tags, triggers, base in LIBRARY:
        asking.add(
            name, description=description, tags=tags, triggers=triggers, base_model=base,
            network_type="LoRA", rank=16,
        )  # fmt: skip


@pytest.fixture
def asking(database: Database) -> Iterator[Asking]:
    """A library whose texts are embedded."""
    made = Asking(database, WordEmbedder())
    _fill(made)
    assert made.embedder is not None
    made.embed(made.embedder)
    yield made
    made.sessions.stop()


@pytest.fixture
def lexical(database: Database) -> Iterator[Asking]:
    """The same library without any text model."""
    made = Asking(database, None)
    _fill(made)
    yield made
    made.sessions.stop()


@pytest.fixture
def empty(database: Database) -> Iterator[Asking]:
    """A library of nothing."""
    made = Asking(database, WordEmbedder())
    yield made
    made.sessions.stop()
