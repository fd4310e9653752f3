"""SD.Next's status, read as the progress of one request.

The host resets its counters with each stage and each batch, and looks idle in between (measured
on its snapshot of 2026-07-23); only steps of the stage "Inference" mean anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lora_manager_core.backends.base import GenerationRequest, ProgressCallback, StepProgress


class InferenceProgress:
    """Feed it what `/sdapi/v1/status` says; it reports whenever the whole has come further.

    `preview` is asked at each report for the unfinished picture to go along.
    """

    def __init__(
        self,
        request: GenerationRequest,
        report: ProgressCallback,
        preview: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self._batches = max(request.n_iter, 1)
        self._report = report
        self._preview = preview
        self._stages: set[str] = set()
        self._reached = 0.0
        self._first: tuple[float, float] | None = None

    def read(self, status: Any) -> None:
        """Take one answer; None and everything unusable is no news."""
        if not isinstance(status, dict) or str(status.get("task")).lower() != "inference":
            return
        step, steps = status.get("step"), status.get("steps")
        if not isinstance(step, int) or not isinstance(steps, int) or steps <= 0:
            return
        # each batch has a stage of its own; a second pass over one batch must not count twice
        self._stages.add(str(status.get("id")))
        batch = min(len(self._stages), self._batches) - 1
        fraction = (batch + min(max(step / steps, 0.0), 1.0)) / self._batches
        if fraction <= self._reached:
            return
        self._reached = fraction
        eta_s = self._eta_s(fraction)
        self._report(StepProgress(fraction, step, steps, eta_s, self._preview()))

    def _eta_s(self, fraction: float) -> float | None:
        now = time.monotonic()
        if self._first is None:
            self._first = (now, fraction)
            return None
        since, start = self._first
        return (now - since) / (fraction - start) * (1.0 - fraction)
