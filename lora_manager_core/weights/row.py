"""What is stored of one file, ready for JSON."""

from __future__ import annotations

import base64
import os
from dataclasses import asdict
from typing import Any

import numpy as np

from lora_manager_core.weights.problems import WeightsUnreadable
from lora_manager_core.weights.sketch import sketch_file

_DORA = "A DoRA: compared without its magnitudes, which mean nothing without the base model."


def sketch_row(path: str | os.PathLike[str]) -> dict[str, Any]:
    """`sketch` (64 × 64 float16 as base64), `norm`, `approximate` and `profile`; or `problem`.

    A problem beside a sketch says what the sketch leaves out. Never raises for what is in a file.
    """
    try:
        made = sketch_file(path)
    except WeightsUnreadable as error:
        return {"problem": _sentence(error.reason)}
    except MemoryError:
        return {"problem": "There is not enough memory for one of its modules."}
    row = {
        "norm": made.norm,
        "approximate": made.approximate,
        "profile": asdict(made.profile),
        "problem": _DORA if made.approximate else None,
    }
    if made.norm == 0.0:
        return {**row, "problem": "It changes nothing: all its weights are zero."}
    halves = made.sketch.astype("<f2")
    return {**row, "sketch": base64.b64encode(np.ascontiguousarray(halves).tobytes()).decode()}


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."
