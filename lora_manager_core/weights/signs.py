"""The random signs that sketches are made with: the same on every machine, for ever.

Philox is a counter-based generator (Salmon et al., SC 2011) whose stream numpy keeps stable. A key
holds what the signs belong to in its upper half, and the width or the name's crc32 in its lower.
"""

from __future__ import annotations

from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.weights.tensors import Floats

#: Rows and columns of a sketch.
SIDE = 64

_LEFT, _RIGHT, _MODULE = (number << 64 for number in (1, 2, 3))


@lru_cache(maxsize=24)  # the widths of two or three models, a megabyte each
def left_signs(outputs: int) -> Floats:
    """±1, (64, outputs); its first 32 rows are those of a sketch of side 32."""
    return np.ascontiguousarray(_signs(_LEFT + outputs, outputs).T)


@lru_cache(maxsize=24)
def right_signs(inputs: int) -> Floats:
    """±1, (inputs, 64)."""
    return _signs(_RIGHT + inputs, inputs)


@lru_cache(maxsize=2048)
def module_signs(name: str) -> Floats:
    """±1, (64, 64), of a canonical module: so that modules of one shape do not mix."""
    return _signs(_MODULE + crc32(name.encode()), SIDE)


def _signs(key: int, rows: int) -> Floats:
    """One 64-bit number per row, its lowest bit first."""
    numbers: NDArray[np.uint64] = np.random.Philox(key=key).random_raw(rows).astype("<u8")
    bits = np.unpackbits(numbers.view(np.uint8).reshape(rows, 8), axis=1, bitorder="little")
    return bits.astype(np.float32) * np.float32(2) - np.float32(1)
