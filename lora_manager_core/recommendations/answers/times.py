"""How long answers took since the start: measured, and null before the first one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

#: The latest of each kind that percentiles are told of.
_KEPT = 1000


class AnswerTimes:
    """Durations in milliseconds by kind of question; any number of threads may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[str, deque[float]] = {}
        self._count = 0
        self._total_ms = 0.0

    def add(self, kind: str, duration_ms: float) -> None:
        """One answer was given."""
        with self._lock:
            self._latest.setdefault(kind, deque(maxlen=_KEPT)).append(duration_ms)
            self._count += 1
            self._total_ms += duration_ms

    def mean_ms(self) -> float | None:
        """The mean of all since the start."""
        with self._lock:
            return self._total_ms / self._count if self._count else None

    def percentiles(self) -> Mapping[str, tuple[int, float, float]]:
        """Kind → how many of its latest are looked at, their p50 and their p95."""
        with self._lock:
            latest = {kind: sorted(durations) for kind, durations in self._latest.items()}
        return {
            kind: (len(d), d[(len(d) - 1) // 2], d[max(-(-len(d) * 95 // 100) - 1, 0)])
            for kind, d in latest.items()
        }
