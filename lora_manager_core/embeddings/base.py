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
    """One model. Vectors of different `key` are never compared.

    `label` is its name for people. `memory_needed` is what computing a batch elsewhere than on the
    CPU takes there, in bytes.
    """

    mode: Mode
    label: str
    memory_needed: int = 0

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
    def known_key(self) -> str | None:
        """The key, if it can be told without loading anything."""
        return self.key

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """How long its vectors are; loads it if need be."""

    @abstractmethod
    def encode(
        self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False
    ) -> NDArray[np.float32]:
        """One row of norm 1 per text (zeros for a text without words), `(len(texts), dimensions)`.

        At once and on the CPU, whatever else goes on: for what somebody waits for. Texts asked for
        lately are remembered.

        Raises:
            EmbeddingUnavailable: it cannot be loaded, or ran out of memory.
        """

    def encode_batch(self, texts: Sequence[str], device: str) -> NDArray[np.float32]:
        """The same for work that nobody waits for, on a torch device, remembering nothing.

        The caller chooses batches of like lengths, and takes its turn for each.
        """
        return self.encode(texts)

    def leave_device(self) -> None:  # noqa: B027 - a model that stays on the CPU holds nothing
        """Give back what `encode_batch` holds on a device other than the CPU."""
