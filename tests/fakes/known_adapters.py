"""A catalogue as taste sees it: adapters with tags, and text vectors of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FakeAdapter:
    """One adapter."""

    id: str
    tags: tuple[str, ...] = ()
    author: str | None = None
    archetype: str | None = None
    base_model: str | None = None
    network_type: str | None = None

    @property
    def name(self) -> str:
        """The name is told by the id."""
        return f"the {self.id}"


@dataclass(eq=False)
class FakeCatalogue:
    """One state of a catalogue; `vectors` has a row of norm 1, or of zeros for none."""

    entries: Sequence[FakeAdapter]
    vectors: NDArray[np.float32]
    row_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.row_of = {entry.id: row for row, entry in enumerate(self.entries)}

    def text_matrix(self, key: str, /) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The vectors, whatever the key."""
        return self.vectors, self.vectors.any(axis=1)


def unit_rows(rows: int, dimensions: int, seed: int) -> NDArray[np.float32]:
    """Random directions."""
    drawn = np.random.default_rng(seed).normal(size=(rows, dimensions))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
