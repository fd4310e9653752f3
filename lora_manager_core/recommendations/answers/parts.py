"""A score per row of the catalogue as the sum of its named parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]

#: What compares an adapter with the question; the others come to it whatever was asked.
_LIKENESS = ("text", "tags", "words", "spelling", "trigger", "weights", "style")


class Parts:
    """Named summands, `(n,)` each, in the order in which they were put."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._parts: dict[str, Scores] = {}

    def put(self, name: str, values: NDArray[np.floating[Any]]) -> None:
        """Add a part; one that is 0 everywhere is left away."""
        part = np.asarray(values, dtype=np.float32)
        if part.any():
            self._parts[name] = part

    def put_rows(self, name: str, values: Mapping[int, float]) -> None:
        """Add a part of which only these rows have something."""
        part = np.zeros(self._rows, dtype=np.float32)
        part[list(values)] = list(values.values())
        self.put(name, part)

    def likeness(self) -> Scores:
        """How well each row fits the question."""
        return self._sum(name for name in self._parts if name in _LIKENESS)

    def final(self) -> Scores:
        """The sum of all parts."""
        return self._sum(self._parts)

    def of(self, row: int) -> list[tuple[str, float]]:
        """The parts of one row that are not 0, the largest first."""
        own = [(name, float(part[row])) for name, part in self._parts.items() if part[row]]
        return sorted(own, key=lambda part: -part[1])

    def _sum(self, names: Iterable[str]) -> Scores:
        total = np.zeros(self._rows, dtype=np.float32)
        for name in names:
            total += self._parts[name]
        return total


def best_rows(scores: Scores, among: Flags, most: int) -> Rows:
    """The rows with the best scores, best first; of equal ones the first."""
    rows = np.flatnonzero(among)
    if len(rows) > most:
        best = np.argpartition(-scores[rows], most - 1)[:most]
        # Those that are as good as the last one are decided by their row, not by chance.
        least = scores[rows[best]].min()
        rows = rows[scores[rows] >= least]
    return rows[np.argsort(-scores[rows], kind="stable")][:most]
