"""The port for models that turn texts into vectors, from the quickest to the best.

An implementation loads nothing before it is asked to, and may be asked from any thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: What answers, as the API says it: words alone; vectors of single words; a sentence model.
Mode = Literal["lexical", "static", "semantic"]


@dataclass(frozen=True, slots=True)
class EmbedderState:
    """How far a model is. `problem` says what to do where it is `failed` or `absent`."""

    status: Literal["absent", "idle", "loading", "ready", "failed"]
    problem: str | None = None
    memory_bytes: int = 0


class TextEmbedder(ABC):
    """One model. Vectors of different `key` are never compared."""

    mode: Mode

    @abstractmethod
    def state(self) -> EmbedderState:
        """How far it is; loads nothing and never waits."""

    @abstractmethod
    def load(self) -> None:
        """Load it, if it is not; other callers wait for the same load.

        Raises:
            EmbeddingUnavailable: it cannot be loaded, and why; remembered until `unload`.
        """

    @abstractmethod
    def unload(self) -> None:
        """Give its memory back; the next call loads it again."""

    @property
    @abstractmethod
    def key(self) -> str:
        """What its vectors depend on: model, revision, kind of number; at most 300 characters.

        Known without loading wherever it was loaded once with the same model.
        """

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """How long its vectors are; loads it if need be."""

    @abstractmethod
    def encode(
        self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        """One row of norm 1 per text (zeros for a text without words), `(len(texts), dimensions)`.

        Raises:
            EmbeddingUnavailable: it cannot be loaded, or ran out of memory.
        """
