"""How much two adapter files get into each other's way, computed exactly from their weights.

Figures to show, not a verdict: in an experiment of this project their rank correlation with the
measured damage of merging two adapters was 0.3 to 0.5 (arXiv 2510.03262 finds the same).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.weights.adapter import AdapterWeights, Change
from lora_manager_core.weights.canonical import block_group
from lora_manager_core.weights.delta import Delta, LowRank

#: Directions weaker than this part of the strongest are rounding errors of 32-bit factors.
_FAINT = 1e-6


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Figures of two changes Δ1 and Δ2 of weights.

    `cosine` is ⟨Δ1, Δ2⟩ / (‖Δ1‖ ‖Δ2‖), 0 where one of them is 0. `overlap` is how much of one lies
    in the output directions of the other, the mean of both ways, minus what chance would give:
    ‖QᵀΔ2‖² / ‖Δ2‖² − r/outputs, with Q an orthonormal basis of the columns of Δ1. About 0 for
    unrelated files, up to 1. `norm` and `other_norm` are Frobenius norms, `shared` how many modules
    both change.
    """

    cosine: float
    overlap: float
    norm: float
    other_norm: float
    shared: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of two whole files and by group of blocks (`weights.canonical.block_group`)."""

    whole: PairFigures
    blocks: dict[str, PairFigures]
    approximate: bool


def compare_files(path: str | os.PathLike[str], other: str | os.PathLike[str]) -> Comparison:
    """Compare two safetensors files, two modules in memory at a time.

    Raises:
        WeightsUnreadable: one of them cannot be read or compared, and why.
    """
    sums: dict[str, _Sums] = {}
    with (
        AdapterWeights(path) as one,
        AdapterWeights(other) as two,
        np.errstate(over="ignore", invalid="ignore"),
    ):
        modules, met = two.by_name(), set()
        held: tuple[str, list[Change]] = ("", [])
        for change in one.changes():
            of_group = sums.setdefault(block_group(change.name), _Sums())
            module = modules.get(change.name)
            if module is not None and held[0] != module:
                held = (module, two.of_module(module))
            match = next((found for found in held[1] if found.name == change.name), None)
            if module is None or match is None or not _fit(change.delta, match.delta):
                of_group.energy += change.delta.energy()
            else:
                met.add(change.name)
                of_group.add(change.delta, match.delta)
        for change in two.changes():
            if change.name not in met:
                of_group = sums.setdefault(block_group(change.name), _Sums())
                of_group.other_energy += change.delta.energy()
        approximate = one.approximate or two.approximate
    whole = _Sums()
    for of_group in sums.values():
        whole.include(of_group)
    blocks = {group: sums[group].figures() for group in sorted(sums)}
    return Comparison(whole.figures(), blocks, approximate)


def _fit(one: Delta, two: Delta) -> bool:
    return (one.outputs, one.inputs) == (two.outputs, two.inputs)


@dataclass(slots=True)
class _Sums:
    """What is added up over modules; `inside` is the energy beyond chance in the other's space."""

    product: float = 0.0
    energy: float = 0.0
    other_energy: float = 0.0
    inside: float = 0.0
    other_inside: float = 0.0
    shared: int = 0

    def add(self, one: Delta, two: Delta) -> None:
        """Two changes of one module."""
        one = one.balanced() if isinstance(one, LowRank) else one
        two = two.balanced() if isinstance(two, LowRank) else two
        energy, other_energy = one.energy(), two.energy()
        product, other_inside = _against(one, two, other_energy)
        inside = _against(two, one, energy)[1]
        self.product += product
        self.energy += energy
        self.other_energy += other_energy
        self.inside += inside
        self.other_inside += other_inside
        self.shared += 1

    def include(self, sums: _Sums) -> None:
        """Those of a group."""
        self.product += sums.product
        self.energy += sums.energy
        self.other_energy += sums.other_energy
        self.inside += sums.inside
        self.other_inside += sums.other_inside
        self.shared += sums.shared

    def figures(self) -> PairFigures:
        """The figures these sums give."""
        lengths = math.sqrt(self.energy * self.other_energy)
        shares = [
            inside / energy if energy else 0.0
            for inside, energy in (
                (self.inside, self.energy),
                (self.other_inside, self.other_energy),
            )
        ]
        return PairFigures(
            cosine=self.product / lengths if lengths else 0.0,
            overlap=sum(shares) / 2,
            norm=math.sqrt(self.energy),
            other_norm=math.sqrt(self.other_energy),
            shared=self.shared,
        )


def _against(one: Delta, two: Delta, energy: float) -> tuple[float, float]:
    """⟨Δ1, Δ2⟩, and the energy of Δ2 inside the output space of Δ1 beyond chance.

    A change that is not of low rank reaches every output direction, so nothing is beyond chance.
    """
    if not isinstance(one, LowRank):
        if isinstance(two, LowRank):
            return _product(two, one.left(_turned(two.up))), 0.0
        return float(np.vdot(one.dense(), two.dense())), 0.0
    seen = two.left(_turned(one.up))  # upᵀ Δ2, (r, inputs)
    values, vectors = np.linalg.eigh((one.up.T @ one.up).astype(np.float64))
    clear = values > _FAINT * max(float(values[-1]), 0.0)
    basis = vectors[:, clear] / np.sqrt(values[clear])  # up @ basis is orthonormal
    inside = float(np.square(basis.T.astype(np.float32) @ seen).sum(dtype=np.float64))
    chance = int(clear.sum()) / one.outputs
    return _product(one, seen), inside - chance * energy


def _product(low: LowRank, seen: NDArray[np.float32]) -> float:
    """⟨Δ1, Δ2⟩ = Σ (upᵀ Δ2) ∘ down, times the scale."""
    return float(np.vdot(seen, low.down)) * low.scale


def _turned(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(matrix.T)
