"""How strong each adapter of a set is to be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from lora_manager_core.recommendations.catalogue.entry import Entry

Source = Literal["own_median", "record", "range", "shared_out"]

#: What a record has when nobody said anything.
_UNSAID = 1.0
#: Shared out over a set whose strengths nobody knows: 0.8 / √n (recommendations.md, section 5).
_WHOLE = 0.8


def weight_for(
    entry: Entry, usual: Mapping[str, tuple[float, int]], in_set: int
) -> tuple[float, Source, str]:
    """Weight, where it comes from, and that in words.

    First the median of one's own uses, then what the record says, then the middle of its range,
    then `0.8 / √n`; always within the range of the adapter.
    """
    if entry.id in usual:
        weight, times = usual[entry.id]
        count = "once" if times == 1 else f"{times} times"
        return _within(entry, weight), "own_median", f"used {count}, at {weight:g} in the middle"
    if entry.weight not in (_UNSAID, 0.0):
        return _within(entry, entry.weight), "record", "as its record says"
    if entry.weight_min is not None and entry.weight_max is not None:
        middle = (entry.weight_min + entry.weight_max) / 2
        bounds = f"{entry.weight_min:g} to {entry.weight_max:g}"
        return middle, "range", f"the middle of its range, {bounds}"
    weight = round(_WHOLE / math.sqrt(in_set), 2)
    said = f"nothing says how strong; {_WHOLE:g} shared out over {in_set}"
    return _within(entry, weight), "shared_out", said


def _within(entry: Entry, weight: float) -> float:
    low = -math.inf if entry.weight_min is None else entry.weight_min
    high = math.inf if entry.weight_max is None else entry.weight_max
    return min(max(weight, low), high)
