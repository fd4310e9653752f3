"""The arrays behind `scores`: how alike adapters are, and what signs of taste spread to whom.

    pref(d) = Σ y·w·K(d, i) / (1 + Σ w·K(d, i)),  K = exp((cos(d, i) − 1) / 0.15),
    w = 2^(−age / 90 days)

over the signs i of one person (recommendations.md, section 4). All weights fade at one rate, so
both sums are kept as of one moment and multiplied by one factor when they are asked for; a new sign
adds one column of K, a changed row of the catalogue one row of it.

A stated preference of confidence c is a sign with y = c and w = 1 that does not fade; its K is 1
for the adapters that are as preferred and 0 for all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lora_manager_core.recommendations.taste.book import PersonalBook
from lora_manager_core.recommendations.taste.likeness import Likeness
from lora_manager_core.recommendations.taste.scores import Because, TasteScores
from lora_manager_core.recommendations.taste.signals import Shown, Signal, weight
from lora_manager_core.recommendations.taste.stated import matching

if TYPE_CHECKING:
    from lora_manager_core.recommendations.taste.scores import KnownAdapters

#: Width of the kernel, by experiment.
BANDWIDTH = 0.15
#: The Beta prior of a showing being taken.
PRIOR_TAKEN, PRIOR_NOT = 0.5, 2.0
#: Columns of K at once: 10 MB of them for 10,000 adapters.
_BLOCK = 256
#: With more of its rows changed, the field is computed anew.
_FEW_ROWS = 0.25


class Field:
    """What one person's signs spread over the rows of a catalogue. Not for several threads."""

    def __init__(self, reference: float) -> None:
        self._reference = reference
        self._likeness: Likeness | None = None
        self._revision = -1
        self._book = PersonalBook({}, [], {})
        #: Adapter → (Σ y·w, Σ w) of its signs as of the reference moment, as spread so far.
        self._spread: dict[str, tuple[float, float]] = {}
        self._sums = np.zeros((2, 0))
        self._stated = np.zeros((2, 0))
        #: The rows that meet each stated preference.
        self._met: list[list[int]] = []
        self._counted = 0
        self._popularity = np.zeros(0)

    def follow(self, known: KnownAdapters, key: str | None) -> None:
        """Go over to that state of the catalogue, with what is spread already."""
        before = self._likeness
        if before is not None and before.is_of(known, key):
            return
        self._likeness = likeness = Likeness(known, key)
        self._revision = -1
        # What changed need not be known where nothing was spread.
        changed = likeness.changed_rows(before) if before is not None and self._spread else None
        kept_rows = [] if before is None else [(likeness.row_of.get(i), i) for i in self._spread]
        if (
            before is None
            or changed is None
            or len(changed) > _FEW_ROWS * len(likeness)
            or any(row is None or row in changed for row, _ in kept_rows)
        ):
            self._sums = np.zeros((2, len(likeness)))
            self._spread = {}
            return
        old_rows = np.array([before.row_of.get(i, -1) for i in likeness.ids], dtype=np.intp)
        sums = np.where(old_rows >= 0, self._sums[:, old_rows], 0.0)
        fresh = np.array(sorted(changed), dtype=np.intp)
        if len(fresh) and self._spread:
            rows = [row for row, _ in kept_rows if row is not None]
            pairs = np.array(list(self._spread.values()))
            sums[:, fresh] = _kernel(likeness.block(rows, fresh)).astype(np.float64).dot(pairs).T
        self._sums = sums

    def is_behind(self, revision: int) -> bool:
        """Whether the book of that revision has to be taken."""
        return revision != self._revision

    def take(self, revision: int, book: PersonalBook) -> None:
        """Spread what is new in the book, and take back what is not in it any more."""
        likeness = self._likeness
        assert likeness is not None, "follow a catalogue first"
        before, self._revision, self._book = self._book.signals, revision, book
        wanted = {
            adapter_id: self._spread[adapter_id]
            if adapter_id in self._spread and before.get(adapter_id) == signals
            else self._weigh(signals)
            for adapter_id, signals in book.signals.items()
            if adapter_id in likeness.row_of
        }
        differences = {}
        for adapter_id in wanted.keys() | self._spread.keys():
            new, old = wanted.get(adapter_id, (0.0, 0.0)), self._spread.get(adapter_id, (0.0, 0.0))
            if new != old:
                differences[adapter_id] = (new[0] - old[0], new[1] - old[1])
        changed = sorted(differences)
        for start in range(0, len(changed), _BLOCK):
            ids = changed[start : start + _BLOCK]
            spread = _kernel(likeness.block([likeness.row_of[i] for i in ids]))
            self._sums += spread.astype(np.float64).dot(np.array([differences[i] for i in ids])).T
        if not wanted:
            self._sums[:] = 0.0  # not what is left of it by rounding
        self._spread = wanted
        self._stated = np.zeros((2, len(likeness)))
        self._met = matching(book.preferences, likeness.entries)
        for stated, rows in zip(book.preferences, self._met, strict=True):
            self._stated[:, rows] += [[stated.confidence], [1.0]]
        self._counted = sum(len(book.signals[i]) for i in wanted) + sum(map(bool, self._met))
        self._popularity = _popularity(likeness, book.shown)
        self._reasons = _Reasons(likeness, book, wanted, self._met)

    def scores(self, now: float) -> TasteScores:
        """The scores of all rows at that moment."""
        likeness = self._likeness
        assert likeness is not None, "follow a catalogue first"
        fade = weight(self._reference, now)
        over = 1.0 + np.maximum(fade * self._sums[1], 0.0) + self._stated[1]
        pref = (fade * self._sums[0] + self._stated[0]) / over
        because = partial(self._reasons.of_row, over=over, fade=fade, now=now)
        return TasteScores(pref, self._popularity, self._counted, because)

    def _weigh(self, signals: Sequence[Signal]) -> tuple[float, float]:
        """(Σ y·w, Σ w) as of the reference moment."""
        weights = [weight(signal.at, self._reference) for signal in signals]
        pulls = [s.value * w for s, w in zip(signals, weights, strict=True)]
        return sum(pulls), sum(weights)


class _Reasons:
    """The summands of `pref` of any row; what they need is gathered when they are asked for."""

    def __init__(
        self,
        likeness: Likeness,
        book: PersonalBook,
        spread: Mapping[str, tuple[float, float]],
        met: Sequence[Sequence[int]],
    ) -> None:
        self._likeness = likeness
        self._book = book
        self._spread = spread
        self._met = met

    @cached_property
    def _pulls(self) -> tuple[list[str], NDArray[np.intp], NDArray[np.float64]]:
        """Adapters with signs, their rows, and their Σ y·w."""
        ids = sorted(self._spread)
        rows = np.array([self._likeness.row_of[i] for i in ids], dtype=np.intp)
        return ids, rows, np.array([self._spread[i][0] for i in ids])

    def of_row(
        self, row: int, most: int, *, over: NDArray[np.float64], fade: float, now: float
    ) -> list[Because]:
        """The `most` largest of one row, as of the moment of `over`, `fade` and `now`."""
        reasons = []
        ids, rows, pulls = self._pulls
        if ids:
            alike = _kernel(self._likeness.block([row], rows))[:, 0]
            shares = alike * pulls * fade / over[row]
            for place in np.argsort(-np.abs(shares), kind="stable")[:most].tolist():
                adapter_id = ids[place]
                name = self._likeness.entries[rows[place]].name
                kind = _strongest(self._book.signals[adapter_id], now)
                reasons.append(Because(adapter_id, name, kind, float(shares[place])))
        for stated, rows_met in zip(self._book.preferences, self._met, strict=True):
            if row in rows_met:
                share = stated.confidence / float(over[row])
                reasons.append(Because(None, stated.value, "preference", share))
        return sorted(reasons, key=lambda reason: -abs(reason.share))[:most]


def _kernel(alike: NDArray[np.float32]) -> NDArray[np.float32]:
    spread: NDArray[np.float32] = np.exp((alike - np.float32(1.0)) / np.float32(BANDWIDTH))
    return spread


def _strongest(signals: Sequence[Signal], now: float) -> str:
    """The kind of sign that pulls most, of all its signs together."""
    pulls: dict[str, float] = {}
    for signal in signals:
        pulls[signal.kind] = pulls.get(signal.kind, 0.0) + signal.value * weight(signal.at, now)
    return max(pulls, key=lambda kind: abs(pulls[kind]))


def _popularity(likeness: Likeness, shown: Mapping[str, Shown]) -> NDArray[np.float64]:
    """The Beta-shrunk share that was taken, less that of what was never shown."""
    popularity = np.zeros(len(likeness))
    unknown = PRIOR_TAKEN / (PRIOR_TAKEN + PRIOR_NOT)
    for adapter_id, count in shown.items():
        row = likeness.row_of.get(adapter_id)
        if row is not None:
            share = (count.taken + PRIOR_TAKEN) / (count.times + PRIOR_TAKEN + PRIOR_NOT)
            popularity[row] = share - unknown
    return popularity
