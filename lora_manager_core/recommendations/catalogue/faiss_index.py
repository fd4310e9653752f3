"""Vectors above 100,000: an inverted file of bytes (faiss `IVF, SQ8`), the extra `faiss`."""

from __future__ import annotations

import importlib.util
import math
import threading
from typing import Any

import numpy as np

from lora_manager_core.errors import ExtraNotInstalled
from lora_manager_core.recommendations.catalogue.vectors import Floats, Slots, VectorIndex

#: Cells looked at per query, and vectors given back. By experiment of this project: recall 0.99.
_PROBED = 32
_REACHED = 2000
#: Vectors per cell that faiss wants to see to place the cells; more only takes longer.
_TRAINED_PER_CELL = 40
_SEED = 1234
#: The bytes reach so much beyond the range of the first vectors, for those that come later.
_RANGE_MARGIN = 0.2


def is_installed() -> bool:
    """Whether the extra is there; loads nothing."""
    return importlib.util.find_spec("faiss") is not None


class FaissVectors(VectorIndex):
    """One byte per number. Cosines are off by some 0.003; those of far vectors are given as 0."""

    def __init__(self, first: Floats) -> None:
        """Place the cells by these vectors `(k, d)` and add them.

        Raises:
            ExtraNotInstalled: faiss is not there.
        """
        try:
            import faiss
        except ImportError as error:
            raise ExtraNotInstalled(
                "Searching more than 100,000 vectors quickly needs faiss. Install it with: "
                'pip install "sd-lora-manager[faiss]"'
            ) from error
        self._faiss: Any = faiss
        self._lock = threading.Lock()  # faiss lets nobody search while somebody adds
        dimensions = first.shape[1]
        cells = max(1, min(int(4 * math.sqrt(len(first))), len(first) // _TRAINED_PER_CELL))
        quantizer = faiss.IndexFlatIP(dimensions)
        self._index = faiss.IndexIVFScalarQuantizer(
            quantizer,
            dimensions,
            cells,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
        )
        self._index.sq.rangestat_arg = _RANGE_MARGIN
        self._probed = min(_PROBED, cells)
        sample = np.random.default_rng(_SEED).permutation(len(first))[: cells * _TRAINED_PER_CELL]
        self._index.train(np.ascontiguousarray(first[sample]))
        self._index.set_direct_map_type(self._faiss.DirectMap.Array)
        self.add(first)

    @property
    def dimensions(self) -> int:
        """How long the vectors are."""
        return int(self._index.d)

    @property
    def used(self) -> int:
        """How many slots were given."""
        return int(self._index.ntotal)

    @property
    def memory_bytes(self) -> int:
        """Codes, their numbers twice, and the centres of the cells."""
        return int(self.used * (self.dimensions + 16) + self._index.nlist * self.dimensions * 4)

    def add(self, vectors: Floats) -> Slots:
        """Add vectors to the nearest cells."""
        with self._lock:
            start = self.used
            self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        return np.arange(start, self.used, dtype=np.int32)

    def cosines(self, queries: Floats, used: int, among: Slots | None = None) -> Floats:
        """Of the nearest to each query; 0 elsewhere."""
        found = np.zeros((used, len(queries)), dtype=np.float32)
        chosen = np.arange(used) if among is None else among
        if not len(chosen):
            return found
        faiss = self._faiss
        bits = np.zeros(used, dtype=bool)
        bits[chosen] = True
        packed = np.packbits(bits, bitorder="little")
        options = faiss.SearchParametersIVF(sel=faiss.IDSelectorBitmap(packed), nprobe=self._probed)
        with self._lock:
            cosines, slots = self._index.search(
                np.ascontiguousarray(queries, dtype=np.float32),
                min(_REACHED, len(chosen)),
                params=options,
            )
        for query in range(len(queries)):
            met = slots[query] >= 0
            found[slots[query][met], query] = cosines[query][met]
        return found

    def rows(self, slots: Slots) -> Floats:
        """The vectors as their bytes say."""
        if not len(slots):
            return np.zeros((0, self.dimensions), dtype=np.float32)
        with self._lock:
            return np.asarray(self._index.reconstruct_batch(slots.astype(np.int64)))
