"""What is in an adapter: how strong it is, where, and how much of its rank it uses."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.weights.canonical import block_group
from lora_manager_core.weights.delta import Delta, LowRank

#: Entries of the spectrum that are kept.
_LONGEST = 64
#: r³ times modules, a few hundredths of a second: all 264 modules of an SD 1.5 LoRA of rank 32.
_BUDGET = 1e7
_FEWEST = 8
#: Ranks that people resize to.
_RANKS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True, slots=True)
class BlockShare:
    """One group of blocks: its share of the energy (0..1), Frobenius norm and module count."""

    share: float
    norm: float
    modules: int


@dataclass(frozen=True, slots=True)
class Profile:
    """How strong an adapter is, and where.

    `blocks` is by group (`weights.canonical.block_group`). `rank` is the commonest rank. The rest
    are means of low-rank modules weighted by energy, of the strongest where they are many or of
    high rank. `spectrum`: the share of the energy of the largest, second largest … singular value;
    `effective_rank`: the exponential of the entropy of these shares (Roy and Vetterli, EUSIPCO
    2007); `r95`: how many hold 95 % of it. `resize_to` is a rank that would do, where r95 is half
    of the rank or less.
    """

    norm: float
    modules: int
    blocks: dict[str, BlockShare] = field(default_factory=dict)
    rank: int | None = None
    spectrum: list[float] = field(default_factory=list)
    effective_rank: float | None = None
    r95: float | None = None
    resize_to: int | None = None


class ProfileMaker:
    """Takes the changes of one file, one by one."""

    def __init__(self) -> None:
        self._energies: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._ranks: Counter[int] = Counter()
        self._grams: dict[int, list[_Grams]] = {}

    def add(self, name: str, delta: Delta) -> None:
        """Look at the change of one canonical module; raises WeightsUnreadable as `energy` does."""
        if isinstance(delta, LowRank):
            self._ranks[delta.rank] += 1
            grams = delta.grams()
            energy = delta.energy_of(*grams)
            if energy > 0.0:
                self._keep(delta.rank, _Grams(energy, *grams))
        else:
            energy = delta.energy()
        group = block_group(name)
        self._energies[group] = self._energies.get(group, 0.0) + energy
        self._counts[group] += 1

    def _keep(self, rank: int, grams: _Grams) -> None:
        """Remember a module for the spectrum, in place of a weaker one where there are enough."""
        kept = self._grams.setdefault(rank, [])
        if len(kept) < max(_FEWEST, _BUDGET / rank**3):
            kept.append(grams)
            return
        weakest = min(range(len(kept)), key=lambda place: kept[place].energy)
        if kept[weakest].energy < grams.energy:
            kept[weakest] = grams

    def finish(self) -> Profile:
        """The profile of all that was added."""
        energy = sum(self._energies.values())
        blocks = {
            group: BlockShare(
                share=part / energy if energy else 0.0,
                norm=math.sqrt(part),
                modules=self._counts[group],
            )
            for group, part in sorted(self._energies.items())
        }
        rank = self._ranks.most_common(1)[0][0] if self._ranks else None
        profile = Profile(math.sqrt(energy), self._counts.total(), blocks, rank)
        if not self._grams:
            return profile
        return self._with_spectrum(profile)

    def _with_spectrum(self, profile: Profile) -> Profile:
        spectrum = np.zeros(max(self._grams))
        effective = r95 = weight = 0.0
        for rank, kept in self._grams.items():
            energies = np.array([grams.energy for grams in kept])
            shares = _shares(kept)
            spectrum[:rank] += energies @ shares
            with np.errstate(divide="ignore", invalid="ignore"):
                logarithms = np.where(shares > 0, np.log(shares), 0.0)
            effective += float(energies @ np.exp(-(shares * logarithms).sum(1)))
            held = (np.cumsum(shares, 1) < 0.95 - 1e-9).sum(1) + 1
            r95 += float(energies @ held)
            weight += float(energies.sum())
        r95 /= weight
        enough = next((choice for choice in _RANKS if choice >= r95 - 1e-9), None)
        resize = profile.rank is not None and enough is not None and enough <= profile.rank / 2
        return Profile(
            norm=profile.norm,
            modules=profile.modules,
            blocks=profile.blocks,
            rank=profile.rank,
            spectrum=[round(share, 6) for share in (spectrum / weight)[:_LONGEST].tolist()],
            effective_rank=effective / weight,
            r95=r95,
            resize_to=enough if resize else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Grams:
    """Energy, BᵀB and A Aᵀ of one module."""

    energy: float
    of_up: NDArray[np.float32]
    of_down: NDArray[np.float32]


def _shares(kept: list[_Grams]) -> NDArray[np.float64]:
    """Each module's squared singular values over their sum, largest first, (modules, rank).

    The squared singular values of B A are the eigenvalues of Lᵀ (BᵀB) L with L Lᵀ = A Aᵀ. A
    millionth of the trace on the diagonal lets Cholesky pass where A has dependent rows.
    """
    of_up = np.stack([grams.of_up for grams in kept]).astype(np.float64)
    of_down = np.stack([grams.of_down for grams in kept]).astype(np.float64)
    trace = np.trace(of_down, axis1=1, axis2=2)
    of_down += np.eye(of_down.shape[1]) * (1e-6 * trace)[:, None, None]
    lower = np.linalg.cholesky(of_down)
    values = np.linalg.eigvalsh(lower.transpose(0, 2, 1) @ of_up @ lower)[:, ::-1]
    values = np.maximum(values, 0.0)
    shares: NDArray[np.float64] = values / values.sum(1, keepdims=True)
    return shares
