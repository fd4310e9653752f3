"""What files of adapters have in common besides their weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lora_manager_core.recommendations.catalogue.entry import Entry
from lora_manager_core.recommendations.catalogue.vectors import Flags, Floats


class Formats:
    """Kinds and ranks of the networks, per row."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._kinds = np.array([entry.network_type or "" for entry in entries], dtype=np.str_)
        self._ranks = np.array([entry.rank or 0 for entry in entries], dtype=np.float32)

    def like(self, row: int) -> tuple[Floats, Flags]:
        """How alike the formats are, 0 … 1, and where they are known.

        Half for the same kind of network, half for the ranks: the smaller over the larger.
        """
        known = np.asarray(self._kinds != "")
        if not known[row]:
            return np.zeros(len(known), dtype=np.float32), np.zeros(len(known), dtype=np.bool_)
        larger = np.maximum(np.maximum(self._ranks, self._ranks[row]), 1)
        ratio = np.minimum(self._ranks, self._ranks[row]) / larger
        same = self._kinds == self._kinds[row]
        alike = np.where(known, 0.5 * same + 0.5 * ratio, 0)
        return alike.astype(np.float32), known
