"""Changes of one weight matrix, kept as what they are made of and compared without being formed.

A convolution's weight (out, in, height, width) is the matrix (out, in·height·width).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from lora_manager_core.weights.problems import WeightsUnreadable
from lora_manager_core.weights.tensors import Floats


class Delta(ABC):
    """The change of one matrix of `outputs` rows and `inputs` columns."""

    outputs: int
    inputs: int

    @abstractmethod
    def left(self, rows: Floats) -> Floats:
        """rows @ Δ for rows (k, outputs); gives (k, inputs)."""

    @abstractmethod
    def energy(self) -> float:
        """The square of its Frobenius norm.

        Raises:
            WeightsUnreadable: its numbers are too large.
        """

    @abstractmethod
    def dense(self) -> Floats:
        """The matrix itself."""

    @abstractmethod
    def part(self, begin: int, end: int) -> Delta:
        """Some of its rows."""

    def project(self, left: Floats, right: Floats) -> Floats:
        """left @ Δ @ right for left (p, outputs) and right (inputs, p)."""
        return self.left(left) @ right


@dataclass(frozen=True, slots=True, eq=False)
class LowRank(Delta):
    """scale · up @ down, with up (outputs, r) and down (r, inputs)."""

    up: Floats
    down: Floats
    scale: float

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """Rows."""
        return int(self.up.shape[0])

    @property
    def inputs(self) -> int:  # type: ignore[override]
        """Columns."""
        return int(self.down.shape[1])

    @property
    def rank(self) -> int:
        """The inner width."""
        return int(self.down.shape[0])

    def grams(self) -> tuple[Floats, Floats]:
        """upᵀ up and down downᵀ of `balanced`, both (r, r), without the scale."""
        of_up, of_down = self.up.T @ self.up, self.down @ self.down.T
        if self._cancels(of_up, of_down):
            even = self._even()
            return even.up.T @ even.up, even.down @ even.down.T
        return of_up, of_down

    def balanced(self) -> LowRank:
        """The same change in factors that do not cancel each other in 32-bit products."""
        cancels = self._cancels(self.up.T @ self.up, self.down @ self.down.T)
        return self._even() if cancels else self

    def _cancels(self, of_up: Floats, of_down: Floats) -> bool:
        """Whether ‖up‖² ‖down‖² is far above ‖up down‖²: for random factors it is r times that."""
        factors = float(np.trace(of_up)) * float(np.trace(of_down))
        return factors > max(1000.0, 10.0 * self.rank) * float(np.vdot(of_up, of_down))

    def _even(self) -> LowRank:
        """up = Q R, so Q and R down."""
        basis, rest = np.linalg.qr(self.up.astype(np.float64))
        down = rest @ self.down.astype(np.float64)
        return LowRank(basis.astype(np.float32), down.astype(np.float32), self.scale)

    def left(self, rows: Floats) -> Floats:
        """Through the inner width."""
        return (rows @ self.up) @ self.down * np.float32(self.scale)

    def energy(self) -> float:
        """‖B A‖² = Σ (BᵀB) ∘ (A Aᵀ)."""
        return self.energy_of(*self.grams())

    def energy_of(self, of_up: Floats, of_down: Floats) -> float:
        """The same from its `grams`."""
        return max(0.0, _finite(float(np.vdot(of_up, of_down)) * self.scale**2))

    def dense(self) -> Floats:
        """The product."""
        return self.up @ self.down * np.float32(self.scale)

    def part(self, begin: int, end: int) -> LowRank:
        """Rows of `up`."""
        return LowRank(self.up[begin:end], self.down, self.scale)

    def project(self, left: Floats, right: Floats) -> Floats:
        """(left @ up) @ (down @ right)."""
        return (left @ self.up) @ (self.down @ right) * np.float32(self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Dense(Delta):
    """scale · matrix."""

    matrix: Floats
    scale: float

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """Rows."""
        return int(self.matrix.shape[0])

    @property
    def inputs(self) -> int:  # type: ignore[override]
        """Columns."""
        return int(self.matrix.shape[1])

    def left(self, rows: Floats) -> Floats:
        """One product."""
        return rows @ self.matrix * np.float32(self.scale)

    def energy(self) -> float:
        """Sum of squares."""
        return _finite(float(np.vdot(self.matrix, self.matrix)) * self.scale**2)

    def dense(self) -> Floats:
        """Itself."""
        return self.matrix * np.float32(self.scale)

    def part(self, begin: int, end: int) -> Dense:
        """Some rows."""
        return Dense(self.matrix[begin:end], self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Kronecker(Delta):
    """scale · outer ⊗ inner, with outer (a, b) and inner (c, d): a·c rows, b·d columns."""

    outer: Floats
    inner: Floats
    scale: float

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """Rows."""
        return int(self.outer.shape[0] * self.inner.shape[0])

    @property
    def inputs(self) -> int:  # type: ignore[override]
        """Columns."""
        return int(self.outer.shape[1] * self.inner.shape[1])

    def left(self, rows: Floats) -> Floats:
        """Factor by factor: (k, a, c) over c, then over a."""
        count, (a, b), (c, d) = len(rows), self.outer.shape, self.inner.shape
        once = (rows.reshape(count * a, c) @ self.inner).reshape(count, a, d)
        return (self.outer.T @ once).reshape(count, b * d) * np.float32(self.scale)

    def energy(self) -> float:
        """‖outer‖² ‖inner‖²."""
        of_outer, of_inner = np.vdot(self.outer, self.outer), np.vdot(self.inner, self.inner)
        return _finite(float(of_outer) * float(of_inner) * self.scale**2)

    def dense(self) -> Floats:
        """The product."""
        product: Floats = np.kron(self.outer, self.inner) * np.float32(self.scale)
        return product

    def part(self, begin: int, end: int) -> Delta:
        """Whole rows of the outer factor where they fit, as in a fused attention; else the rows."""
        step = self.inner.shape[0]
        if begin % step == 0 and end % step == 0:
            return Kronecker(self.outer[begin // step : end // step], self.inner, self.scale)
        return Dense(self.dense()[begin:end], 1.0)


def _finite(energy: float) -> float:
    if not math.isfinite(energy):
        raise WeightsUnreadable("its numbers are too large for 32-bit arithmetic")
    return energy
