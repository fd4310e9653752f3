"""Warnings of a composition about adapters with much the same weights.

They come with every prompt, so they load nothing: cosines of the 32 × 32 sub-blocks of stored
sketches in plain Python, some 40 µs a pair.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import combinations
from operator import mul

from lora_manager_core.compose.schemas import ComposeWarning
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.recommendations.sets.classes import (
    HALF_SKETCH_NOISE,
    LINEAGE,
    NEAR_DUPLICATE,
)
from lora_manager_core.recommendations.sets.repository import SetRows

#: Of larger sets only the first are looked at: 120 pairs.
_MOST = 16
_SIDE, _HALF = 64, 32
_ROW_BYTES = 2 * _SIDE
_ROW = struct.Struct(f"<{_HALF}e")


def weight_warnings(session: ReadSession, adapters: Sequence[Adapter]) -> list[ComposeWarning]:
    """What is to be said of the weights of a set; a composition's `LookAtSet`."""
    applied = [adapter for adapter in adapters if adapter.weight != 0][:_MOST]
    if len(applied) < 2:
        return []
    sketches = SetRows(session).sketches([adapter.id for adapter in applied])
    vectors = {
        i: vector
        for i, row in sketches.items()
        if row.sketch is not None and (vector := _unit_half(row.sketch)) is not None
    }
    warnings = []
    for one, two in combinations(applied, 2):
        if one.id in vectors and two.id in vectors:
            cosine = sum(map(mul, vectors[one.id], vectors[two.id]))
            if abs(cosine) >= LINEAGE:
                warnings.append(_warning(one, two, cosine))
    return warnings


def _unit_half(sketch: bytes) -> list[float] | None:
    numbers = [
        number for row in range(_HALF) for number in _ROW.unpack_from(sketch, row * _ROW_BYTES)
    ]
    length = math.sqrt(sum(map(mul, numbers, numbers)))
    return [number / length for number in numbers] if length else None


def _warning(one: Adapter, two: Adapter, cosine: float) -> ComposeWarning:
    names = f"“{one.name}” and “{two.name}”"
    number = f"cosine of weights {cosine:.2f} ± {HALF_SKETCH_NOISE:g}"
    if cosine >= NEAR_DUPLICATE:
        code, said = "near_duplicate", f"{names} are nearly the same file ({number}); use one."
    elif cosine * one.weight * two.weight > 0:
        code = "strong_overlap"
        said = f"{names} do much the same ({number}); together they act stronger than each says."
    else:
        code, said = "strong_overlap", f"{names} take back part of each other ({number})."
    return ComposeWarning.model_validate(
        {"code": code, "message": said, "adapter_id": two.id, "name": two.name}
    )
