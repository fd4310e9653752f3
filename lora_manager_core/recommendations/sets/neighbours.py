"""All pairs of adapters with much the same weights: blockwise products of all sketches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.recommendations.sets.classes import HALF_SKETCH_NOISE, LINEAGE

#: Rows at once: 20 MB of cosines for 10,000 adapters.
_BLOCK = 512
#: What is below the border by more than so many deviations of the small sketches is not there.
_DEVIATIONS = 4
_SIDE = 64

#: Gives the whole sketches (little-endian float16, 64 × 64) of some adapters.
ReadSketches = Callable[[Sequence[str]], Mapping[str, bytes]]

Pair = tuple[str, str, float]


def close_pairs(
    small: NDArray[np.float32], ids: Sequence[str], read: ReadSketches, least: float = LINEAGE
) -> list[Pair]:
    """The pairs of adapters with a cosine of at least `least`, the most alike first.

    `small` has a row of norm 1 for each of the ids, the 32 × 32 sub-blocks, shape (n, 1024). The
    cosines that are given are of the whole sketches.
    """
    border = least - _DEVIATIONS * HALF_SKETCH_NOISE
    found: list[tuple[int, int]] = []
    for start in range(0, len(ids), _BLOCK):
        cosines = small[start : start + _BLOCK] @ small[start:].T
        rows, columns = np.nonzero(cosines >= border)
        later = columns > rows
        found += zip((rows[later] + start).tolist(), (columns[later] + start).tolist(), strict=True)
    if not found:
        return []
    involved = sorted({row for pair in found for row in pair})
    place = {row: number for number, row in enumerate(involved)}
    blobs = read([ids[row] for row in involved])
    whole = np.zeros((len(involved), _SIDE * _SIDE), np.float32)
    for row, number in place.items():
        blob = blobs.get(ids[row])
        if blob is not None:  # else it was removed meanwhile, and is like nothing
            whole[number] = np.frombuffer(blob, dtype="<f2")
    lengths = np.linalg.norm(whole, axis=1, keepdims=True)
    whole /= np.where(lengths > 0, lengths, 1.0)
    pairs: list[Pair] = []
    for start in range(0, len(found), _BLOCK):
        part = found[start : start + _BLOCK]
        left = whole[[place[a] for a, _ in part]]
        right = whole[[place[b] for _, b in part]]
        for (a, b), cosine in zip(part, np.einsum("ij,ij->i", left, right).tolist(), strict=True):
            if cosine >= least:
                pairs.append((ids[a], ids[b], min(cosine, 1.0)))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def groups_of(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """The pairs by group: adapters that are linked, directly or through others, belong together."""
    leader: dict[str, str] = {}

    def _find(adapter_id: str) -> str:
        while leader.setdefault(adapter_id, adapter_id) != adapter_id:
            leader[adapter_id] = leader[leader[adapter_id]]
            adapter_id = leader[adapter_id]
        return adapter_id

    for a, b, _ in pairs:
        leader[_find(a)] = _find(b)
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(_find(pair[0]), []).append(pair)
    return list(groups.values())
