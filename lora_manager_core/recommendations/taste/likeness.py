"""How alike adapters are for taste: by their texts, else by their tags.

Of two adapters with text vectors it is their cosine; of others the cosine of their sets of tags,
`|A ∩ B| / √(|A|·|B|)`. Each is like itself: 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lora_manager_core.recommendations.taste.scores import KnownAdapters


class Likeness:
    """The likeness of the adapters of one state of the catalogue. Only reads it."""

    def __init__(self, known: KnownAdapters, key: str | None) -> None:
        self._of = (known, key)
        self.entries = known.entries
        self.row_of = known.row_of
        self.ids = [entry.id for entry in known.entries]
        self._gathered: tuple[object, NDArray[np.float32]] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _texts(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Not before somebody compares: a matrix of all vectors is large."""
        known, key = self._of
        if key is not None:
            return known.text_matrix(key)
        return np.zeros((len(self), 0), np.float32), np.zeros(len(self), np.bool_)

    @property
    def _vectors(self) -> NDArray[np.float32]:
        return self._texts[0]

    @property
    def _has(self) -> NDArray[np.bool_]:
        return self._texts[1]

    @cached_property
    def _all_have(self) -> bool:
        return bool(self._has.all())

    def is_of(self, known: KnownAdapters, key: str | None) -> bool:
        """Whether it was made of exactly that."""
        return self._of[0] is known and self._of[1] == key

    def changed_rows(self, before: Likeness) -> set[int] | None:
        """The rows that are new or no longer like the others as they were; None: maybe all."""
        if self._of[1] != before._of[1] or self._vectors.shape[1:] != before._vectors.shape[1:]:
            return None
        rows = np.array([before.row_of.get(i, -1) for i in self.ids], dtype=np.intp)
        changed = rows < 0
        known = np.flatnonzero(~changed)
        old = rows[known]
        changed[known] |= self._has[known] != before._has[old]
        changed[known] |= (self._vectors[known] != before._vectors[old]).any(axis=1)
        if not (self._all_have and before._all_have):
            for row in np.flatnonzero(~changed):
                changed[row] = set(self.entries[row].tags) != set(before.entries[rows[row]].tags)
        return set(np.flatnonzero(changed).tolist())

    def block(self, of: Sequence[int], rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """How like the adapters of the rows `of` those of `rows` are (None: all), (rows, of)."""
        if rows is not None and len(rows) < len(of):
            return self.block(rows.tolist(), np.asarray(of, dtype=np.intp)).T
        columns = np.asarray(of, dtype=np.intp)
        vectors = self._vectors if rows is None else self._rows(rows)
        alike = np.minimum(vectors @ self._vectors[columns].T, np.float32(1.0))
        if not self._all_have:
            has = self._has if rows is None else self._has[rows]
            tags = self._overlap(columns)
            both = has[:, None] & self._has[columns][None, :]
            alike = np.where(both, alike, tags if rows is None else tags[rows])
        if rows is None:
            alike[columns, np.arange(len(columns))] = 1.0
        else:
            alike[rows[:, None] == columns[None, :]] = 1.0
        return alike

    def _rows(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Their vectors; the last ones asked for, by that very array, are kept."""
        gathered = self._gathered
        if gathered is None or gathered[0] is not rows:
            gathered = self._gathered = (rows, self._vectors[rows])
        return gathered[1]

    def _overlap(self, columns: NDArray[np.intp]) -> NDArray[np.float32]:
        postings, sizes = self._tags
        shared = np.zeros((len(columns), len(self.ids)), np.float32)
        for number, column in enumerate(columns.tolist()):
            for tag in _keys(self.entries[column].tags):
                shared[number, postings[tag]] += 1.0
            shared[number] /= np.sqrt(max(sizes[column], 1.0) * np.maximum(sizes, 1.0))
        return shared.T

    @cached_property
    def _tags(self) -> tuple[dict[str, NDArray[np.intp]], NDArray[np.float32]]:
        """Tag without case → the rows that have it; and how many each row has."""
        rows: dict[str, list[int]] = defaultdict(list)
        sizes = np.zeros(len(self.ids), np.float32)
        for row, entry in enumerate(self.entries):
            keys = _keys(entry.tags)
            sizes[row] = len(keys)
            for key in keys:
                rows[key].append(row)
        return {key: np.array(found, dtype=np.intp) for key, found in rows.items()}, sizes


def _keys(tags: Sequence[str]) -> set[str]:
    return {tag.casefold() for tag in tags}
