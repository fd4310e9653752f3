"""Which model answers, and how the better one is fetched."""

from __future__ import annotations

import threading

from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.errors import EmbeddingUnavailable
from tests.fakes.text_models import NO_EXTRA, FakeEmbedder


class SlowEmbedder(FakeEmbedder):
    """Loads once `may_load` is set; `is_loading` tells that it waits for that."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.may_load, self.is_loading = threading.Event(), threading.Event()

    def load(self) -> None:
        self.is_loading.set()
        assert self.may_load.wait(30)
        super().load()


class StaticFake(FakeEmbedder):
    mode = "static"


def wait_until_ready(tiers: TextTiers, embedder: FakeEmbedder) -> None:
    loaded = threading.Event()
    for _ in range(3000):
        if tiers.best() is embedder:
            return
        loaded.wait(0.01)
    raise AssertionError(tiers.states())


def wait_for_failure(embedder: FakeEmbedder) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if embedder.state().status == "failed":
            return
        pause.wait(0.01)
    raise AssertionError(embedder.state())


class TestBest:
    def test_the_one_below_answers_while_the_better_one_loads(self) -> None:
        slow, static = SlowEmbedder(), StaticFake("static")
        tiers = TextTiers(slow, static)

        assert tiers.mode() == "lexical"
        tiers.best()
        assert slow.is_loading.wait(30)
        assert (tiers.best(), tiers.mode()) == (static, "static")
        assert "being loaded" in (tiers.hint() or "")
        slow.may_load.set()
        wait_until_ready(tiers, slow)
        assert (tiers.mode(), tiers.hint()) == ("semantic", None)
        tiers.close()

    def test_without_the_extra_it_is_words_alone_and_the_hint_names_it(self) -> None:
        tiers = TextTiers(FakeEmbedder(absent=NO_EXTRA))

        assert (tiers.best(), tiers.wanted(), tiers.mode()) == (None, None, "lexical")
        assert "semantic" in (tiers.hint() or "")

    def test_without_the_extra_word_vectors_that_are_there_answer(self) -> None:
        static = StaticFake("static")
        tiers = TextTiers(FakeEmbedder(absent=NO_EXTRA), static)

        wait_until_ready(tiers, static)

        assert (tiers.wanted(), tiers.mode()) == (None, "static")
        assert "semantic" in (tiers.hint() or "")

    def test_a_model_that_cannot_be_loaded_is_tried_once_and_the_hint_says_why(self) -> None:
        broken, static = FakeEmbedder(), StaticFake("static")
        broken.failure = EmbeddingUnavailable("The folder is empty.")
        tiers = TextTiers(broken, static)

        wait_until_ready(tiers, static)
        wait_for_failure(broken)
        for _ in range(3):
            assert tiers.best() is static

        assert broken.loads == 1
        assert tiers.hint() == "The folder is empty."

    def test_asked_to_it_is_tried_again(self) -> None:
        broken = FakeEmbedder()
        broken.failure = EmbeddingUnavailable("The folder is empty.")
        tiers = TextTiers(broken)
        tiers.best()
        wait_for_failure(broken)
        broken.failure = None

        tiers.retry()

        wait_until_ready(tiers, broken)


class TestClosing:
    def test_gives_memory_back_and_loads_nothing_any_more(self) -> None:
        model = FakeEmbedder()
        tiers = TextTiers(model)
        wait_until_ready(tiers, model)

        tiers.close()

        assert tiers.best() is None
        assert model.state().status == "idle"
        assert model.loads == 1
