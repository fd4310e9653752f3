"""Files of a set compared by themselves, each with each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from lora_manager_core.weights.adapter import AdapterWeights
from lora_manager_core.weights.overlap import Comparison, compare_files
from lora_manager_core.weights.problems import WeightsUnreadable


@dataclass(slots=True)
class ExactFigures:
    """Norms and problems by id, comparisons by pairs of ids in the order that was given."""

    norms: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    pairs: dict[tuple[str, str], Comparison] = field(default_factory=dict)


def compare_all(paths: Mapping[str, Path]) -> ExactFigures:
    """Read each file alone, so that one that is damaged is known, then each pair."""
    figures = ExactFigures()
    for adapter_id, path in paths.items():
        try:
            with AdapterWeights(path) as weights:
                energy = sum(change.delta.energy() for change in weights.changes())
        except WeightsUnreadable as error:
            figures.problems[adapter_id] = error.reason
        else:
            figures.norms[adapter_id] = math.sqrt(energy)
    for one, two in combinations(figures.norms, 2):
        figures.pairs[one, two] = compare_files(paths[one], paths[two])
    return figures
