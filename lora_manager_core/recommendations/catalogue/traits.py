"""What is compared or filtered by besides vectors and words: one number per row and trait."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.recommendations.catalogue.entry import Entry
from lora_manager_core.recommendations.catalogue.vectors import Flags, Floats, Slots

Codes = NDArray[np.int32]
#: Columns: file usable, base model, kind of network, rank.
_USABLE, _BASE, _KIND, _RANK = range(4)
#: Beyond any real one; a header may claim more than the column holds.
_MOST_RANK = 1_000_000


class TraitsView:
    """The traits as of one moment."""

    def __init__(self, numbers: Codes, labels: Sequence[str | None], unknown_kind: int) -> None:
        self._numbers = numbers
        self._unknown_kind = unknown_kind
        self.labels = labels

    @property
    def usable(self) -> Flags:
        """Which adapters have a file that is there and can be read `(n,)`."""
        return np.asarray(self._numbers[:, _USABLE] == 1)

    @property
    def base_models(self) -> Codes:
        """Per row `(n,)` the number of its base model in `labels`."""
        return self._numbers[:, _BASE]

    def formats_like(self, row: int) -> tuple[Floats, Flags]:
        """How alike the formats of files are to that of one, 0 … 1, and where they are known.

        Half for the same kind of network, half for the ranks: the smaller over the larger.
        """
        kinds = self._numbers[:, _KIND]
        ranks = self._numbers[:, _RANK].astype(np.float32)
        known = np.asarray(kinds != self._unknown_kind)
        if not known[row]:
            return np.zeros(len(known), dtype=np.float32), np.zeros(len(known), dtype=np.bool_)
        ratio = np.minimum(ranks, ranks[row]) / np.maximum(np.maximum(ranks, ranks[row]), 1)
        alike = np.where(known, 0.5 * (kinds == kinds[row]) + 0.5 * ratio, 0)
        return alike.astype(np.float32), known


class Traits:
    """The traits while they are changed; 16 bytes per adapter."""

    def __init__(self) -> None:
        self._numbers: Codes = np.zeros((0, 4), dtype=np.int32)
        self._codes: dict[str | None, int] = {None: 0}

    def keep(self, rows: Slots) -> None:
        """Only these rows stay."""
        self._numbers = self._numbers[rows]

    def extend(self, count: int) -> None:
        """So many rows come at the end."""
        self._numbers = np.concatenate([self._numbers, np.zeros((count, 4), dtype=np.int32)])

    def put(self, row: int, entry: Entry) -> None:
        """A row is this adapter's."""
        self._numbers[row] = (
            entry.file_state == "present" and not entry.file_problem,
            self._code(entry.base_model),
            self._code(entry.network_type),
            min(entry.rank or 0, _MOST_RANK),
        )

    def view(self) -> TraitsView:
        """The traits as they are."""
        return TraitsView(self._numbers.copy(), list(self._codes), self._codes[None])

    def _code(self, label: str | None) -> int:
        return self._codes.setdefault(label, len(self._codes))
