"""The catalogue is read in advance for those who ask for recommendations, and for nobody else."""

from __future__ import annotations

import threading

import pytest

from lora_manager_core.common.clock import utc_after
from lora_manager_core.db.models import RecommendationSession
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.catalogue.warm_up import WarmUp
from tests.fakes.embedded_adapters import adapter_row, add_adapters, embed
from tests.fakes.word_embedder import WordEmbedder

_DAY_S = 24 * 3600.0


def _asked(database: Database, seconds_ago: float) -> None:
    with database.write() as session:
        session.add(
            RecommendationSession(
                id=f"asked {seconds_ago} s ago",
                kind="similar",
                mode="lexical",
                shown=[],
                duration_ms=1.0,
                created_at=utc_after(-seconds_ago),
            )
        )


@pytest.fixture
def index(database: Database) -> CatalogueIndex:
    add_adapters(database, *(adapter_row(f"number {n}") for n in range(1200)))
    return CatalogueIndex(database, TextTiers(None), lambda: None)


def _warm_up(database: Database, index: CatalogueIndex) -> None:
    warm_up = WarmUp(database, index, delay_s=0.0)
    warm_up.start()
    thread = next(t for t in threading.enumerate() if t.name == "recommendations-warm-up")
    thread.join(30.0)
    warm_up.stop()


class TestWarmUp:
    def test_reads_all_where_somebody_asked_lately(
        self, database: Database, index: CatalogueIndex
    ) -> None:
        _asked(database, 2 * _DAY_S)

        _warm_up(database, index)

        assert index.state().is_fresh
        assert len(index.snapshot().entries) == 1200

    @pytest.mark.parametrize("days", [None, 40])
    def test_reads_nothing_where_nobody_did(
        self, database: Database, index: CatalogueIndex, days: float | None
    ) -> None:
        if days is not None:
            _asked(database, days * _DAY_S)

        _warm_up(database, index)

        assert not index.state().is_fresh

    def test_vectors_come_with_the_first_question(self, database: Database) -> None:
        add_adapters(database, *(adapter_row(f"number {n}") for n in range(3)))
        embedder = WordEmbedder()
        embed(database, embedder)
        index = CatalogueIndex(database, TextTiers(embedder), lambda: None)

        index.warm_up(lambda: False)

        assert index.snapshot().text_known.all()

    def test_who_asks_meanwhile_does_not_wait_for_rests(
        self, database: Database, index: CatalogueIndex
    ) -> None:
        portions: list[object] = []
        asked = threading.Event()

        def _count() -> bool:
            portions.append(1)
            asked.wait(10.0)
            return False

        warming = threading.Thread(target=index.warm_up, args=[_count])
        warming.start()
        asking = threading.Thread(target=index.snapshot)
        asking.start()
        asked.set()
        warming.join(30.0)
        asking.join(30.0)

        assert not warming.is_alive()
        assert not asking.is_alive()
        assert len(index.snapshot().entries) == 1200

    def test_stops_between_two_portions_and_the_next_question_reads_all(
        self, database: Database, index: CatalogueIndex
    ) -> None:
        portions: list[object] = []

        def _stop() -> bool:
            portions.append(1)
            return True

        index.warm_up(_stop)

        assert portions == [1]
        assert not index.state().is_fresh
        assert len(index.snapshot().entries) == 1200

    def test_does_nothing_after_a_question(self, database: Database, index: CatalogueIndex) -> None:
        first = index.snapshot()

        index.warm_up(lambda: pytest.fail("it read something"))

        assert index.snapshot() is first
