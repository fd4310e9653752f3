"""One vector per row of the catalogue, or none; edits add a vector and leave the others alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.recommendations.catalogue import faiss_index
from lora_manager_core.recommendations.catalogue.vectors import (
    EXACT_LIMIT,
    ExactVectors,
    Flags,
    Floats,
    Slots,
    VectorIndex,
)

#: Slots that nobody uses any more are given back when they are so many, and this share of all.
_LEAST_DEAD = 1024
_DEAD_SHARE = 0.2


class ColumnView:
    """The column as of one moment; `known` `(n,)` says which rows have a vector that counts."""

    def __init__(self, index: VectorIndex, slots: Slots) -> None:
        self._index = index
        self._used = index.used
        self._slots = slots
        self.known: Flags = slots >= 0
        self._is_whole = bool(
            len(slots) == self._used and np.array_equal(slots, np.arange(self._used))
        )

    def cosines(self, queries: Floats) -> Floats:
        """Cosines with queries of norm 1: `(d,)` gives `(n,)`, `(q, d)` gives `(n, q)`.

        0 where a row has no vector.
        """
        several = queries if queries.ndim == 2 else queries[None, :]
        if self._is_whole:
            found = self._index.cosines(several, self._used)
        else:
            by_slot = self._index.cosines(several, self._used, self._slots[self.known])
            found = np.zeros((len(self._slots), len(several)), dtype=np.float32)
            found[self.known] = by_slot[self._slots[self.known]]
        return found if queries.ndim == 2 else found[:, 0]

    def rows(self, rows: Sequence[int] | NDArray[np.int64]) -> Floats:
        """The vectors of these rows; zeros where there are none."""
        slots = self._slots[np.asarray(rows, dtype=np.int64)]
        found = np.zeros((len(slots), self._index.dimensions), dtype=np.float32)
        found[slots >= 0] = self._index.rows(slots[slots >= 0])
        return found

    @cached_property
    def matrix(self) -> Floats:
        """All vectors, `(n, d)`; kept, because who wants all wants them more than once."""
        matrix = self.rows(range(len(self._slots)))
        matrix.setflags(write=False)
        return matrix


class VectorColumn:
    """A slot per row, -1 for none. Used by one thread at a time; views by any number."""

    def __init__(self, dimensions: int, rows: int) -> None:
        self._index: VectorIndex = ExactVectors(dimensions)
        self._slots = np.full(rows, -1, dtype=np.int32)

    @property
    def dimensions(self) -> int:
        """How long the vectors are."""
        return self._index.dimensions

    @property
    def memory_bytes(self) -> int:
        """What vectors and slots take."""
        return self._index.memory_bytes + int(self._slots.nbytes)

    def view(self, counts: Flags | None = None) -> ColumnView:
        """The column as it is; rows where `counts` is False count as without a vector."""
        slots = self._slots.copy() if counts is None else np.where(counts, self._slots, -1)
        return ColumnView(self._index, slots.astype(np.int32, copy=False))

    def keep(self, rows: Slots) -> None:
        """Only these rows stay, in this order."""
        self._slots = self._slots[rows]

    def extend(self, count: int) -> None:
        """So many rows without a vector come at the end."""
        self._slots = np.concatenate([self._slots, np.full(count, -1, dtype=np.int32)])

    def put(self, rows: Sequence[int], vectors: Floats) -> None:
        """These rows have these vectors of norm 1 from now on; one of zeros is none."""
        numbers = np.asarray(rows, dtype=np.int64)
        present = vectors.any(axis=1)
        self._slots[numbers] = -1
        if present.any():
            self._slots[numbers[present]] = self._index.add(vectors[present])
        self._tidy()

    def _tidy(self) -> None:
        """Give dead slots back, and change over to faiss where there are many vectors."""
        alive = self._slots >= 0
        count = int(alive.sum())
        dead = self._index.used - count
        too_many = count > EXACT_LIMIT and isinstance(self._index, ExactVectors)
        if too_many and faiss_index.is_installed():
            vectors = self._index.rows(self._slots[alive])
            self._index = faiss_index.FaissVectors(vectors)
        elif dead > max(_LEAST_DEAD, _DEAD_SHARE * self._index.used):
            vectors = self._index.rows(self._slots[alive])
            if isinstance(self._index, ExactVectors) or count <= EXACT_LIMIT:
                self._index = ExactVectors(self.dimensions)
                self._index.add(vectors)
            else:
                self._index = faiss_index.FaissVectors(vectors)
        else:
            return
        self._slots[alive] = np.arange(count, dtype=np.int32)
