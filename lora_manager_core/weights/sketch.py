"""What an adapter's weights look like, in 64 × 64 numbers that can be compared.

For the change Δ of each module, S = Σ ε ∘ (U Δ V) · scale / 64, with random signs U (64, outputs)
and V (inputs, 64), one pair per width, and ε of the module. The inner product of two sketches
estimates that of the files' changes without bias, and the error falls as 1/64; from an experiment
of this project, after Achlioptas (JCSS 2003) and Charikar et al. (ICALP 2002).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.weights.adapter import AdapterWeights
from lora_manager_core.weights.problems import WeightsUnreadable
from lora_manager_core.weights.profile import Profile, ProfileMaker
from lora_manager_core.weights.signs import SIDE, left_signs, module_signs, right_signs


@dataclass(frozen=True, slots=True, eq=False)
class SketchResult:
    """What came of one file.

    `sketch` is float32, (64, 64), of norm 1 (zeros where the file changes nothing); its first 32
    rows and columns, made norm 1 again, are the sketch of side 32. `norm` is the exact Frobenius
    norm of the change of weights. `approximate` says that the file does more than was compared.
    """

    sketch: NDArray[np.float32]
    norm: float
    approximate: bool
    profile: Profile


def sketch_file(path: str | os.PathLike[str]) -> SketchResult:
    """Sketch one safetensors file.

    Raises:
        WeightsUnreadable: it cannot be read, or is of a kind that cannot be compared, and why.
    """
    total = np.zeros((SIDE, SIDE), np.float64)
    maker = ProfileMaker()
    with AdapterWeights(path) as weights, np.errstate(over="ignore", invalid="ignore"):
        for change in weights.changes():
            delta = change.delta
            seen = delta.project(left_signs(delta.outputs), right_signs(delta.inputs))
            total += seen * module_signs(change.name)
            maker.add(change.name, delta)
        approximate = weights.approximate
    length = float(np.linalg.norm(total))
    if not np.isfinite(length):  # no module is too large by itself
        raise WeightsUnreadable("its numbers are too large for 32-bit arithmetic")
    sketch = (total / length if length else total).astype(np.float32)
    profile = maker.finish()
    return SketchResult(sketch, profile.norm, approximate, profile)
