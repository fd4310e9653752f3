"""The port for a set of vectors that is searched by cosine, and the exact one: one numpy matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Slots = NDArray[np.int32]
Flags = NDArray[np.bool_]

#: Up to here every vector is looked at: 10 ms at 384 numbers on two cores.
EXACT_LIMIT = 100_000
_LEAST_CAPACITY = 256
_GROWTH = 1.25


class VectorIndex(ABC):
    """Vectors of norm 1 by slot: 0, 1, 2 … in the order they were added.

    A slot never changes and is never given again, so who knows how many slots there were at some
    moment keeps seeing the state of that moment. One thread adds; any number of others ask.
    """

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """How long the vectors are."""

    @property
    @abstractmethod
    def used(self) -> int:
        """How many slots were given."""

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """What the vectors take, with the room kept for more."""

    @abstractmethod
    def add(self, vectors: Floats) -> Slots:
        """Add vectors `(k, d)`; gives their slots `(k,)`."""

    @abstractmethod
    def cosines(self, queries: Floats, used: int, among: Slots | None = None) -> Floats:
        """Cosines `(used, q)` of the first `used` slots with queries `(q, d)` of norm 1.

        An index that does not look at everything gives 0 for what is far from a query. `among` are
        the slots that matter, where not all do: the near ones are looked for among these.
        """

    @abstractmethod
    def rows(self, slots: Slots) -> Floats:
        """The vectors of these slots, `(k, d)`."""


class ExactVectors(VectorIndex):
    """One float32 matrix in memory: 4 bytes per number, and up to a quarter more for growth.

    float32, because numpy multiplies float16 some thirty times slower.
    """

    def __init__(self, dimensions: int) -> None:
        self._rows = np.zeros((0, dimensions), dtype=np.float32)
        self._used = 0

    @property
    def dimensions(self) -> int:
        """How long the vectors are."""
        return int(self._rows.shape[1])

    @property
    def used(self) -> int:
        """How many slots were given."""
        return self._used

    @property
    def memory_bytes(self) -> int:
        """What the matrix takes."""
        return int(self._rows.nbytes)

    def add(self, vectors: Floats) -> Slots:
        """Append rows; a full matrix is copied into a larger one, and who uses the old one may."""
        end = self._used + len(vectors)
        if end > len(self._rows):
            # Exactly what is asked for at first: a catalogue is loaded at once and then grows.
            capacity = end if not self._used else max(_LEAST_CAPACITY, int(end * _GROWTH))
            grown = np.empty((capacity, self.dimensions), dtype=np.float32)
            grown[: self._used] = self._rows[: self._used]
            self._rows = grown
        self._rows[self._used : end] = vectors
        slots = np.arange(self._used, end, dtype=np.int32)
        self._used = end
        return slots

    def cosines(self, queries: Floats, used: int, among: Slots | None = None) -> Floats:
        """All of them, by one matrix product."""
        rows = self._rows[:used]
        if len(queries) == 1:
            return np.asarray(rows @ queries[0])[:, None]
        return np.asarray(rows @ queries.T)

    def rows(self, slots: Slots) -> Floats:
        """A copy of these rows."""
        return self._rows[slots]
