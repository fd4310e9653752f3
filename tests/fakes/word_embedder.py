"""A text model made of hashes: texts that share words are near, and nothing is learned."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.embeddings.base import EmbedderState, Mode, TextEmbedder
from lora_manager_core.embeddings.prompts import words_of


class WordEmbedder(TextEmbedder):
    """The sum of one direction per word, told by its checksum; counts what it was given."""

    def __init__(self, dimensions: int = 64, mode: Mode = "semantic", key: str = "words") -> None:
        self.mode = mode
        self.label = "words"
        self.encoded: list[str] = []
        self.status = EmbedderState("ready")
        self._key = key
        self._dimensions = dimensions

    def state(self) -> EmbedderState:
        return self.status

    def load(self) -> None:
        self.status = EmbedderState("ready")

    def unload(self) -> None:
        self.status = EmbedderState("idle")

    @property
    def key(self) -> str:
        return self._key

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def encode(
        self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        self.encoded.extend(texts)
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> NDArray[np.float32]:
        total = np.zeros(self._dimensions, np.float32)
        for word in words_of(text):
            random = np.random.default_rng(zlib.crc32(word.encode()))
            total += random.standard_normal(self._dimensions, dtype=np.float32)
        norm = np.linalg.norm(total)
        return total / norm if norm else total
