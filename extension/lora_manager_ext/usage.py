"""Tells the manager of the pictures that SD.Next's own page and API made, once for each job.

The host says that a job is over in a `finally`: also when it failed, and for jobs within a job.
That pictures came of it shows in a new `Processed`, which the host keeps at the very end of a job
that went through (`get_processed` in its `modules/processing.py`).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from lora_manager_core.generation.runs import FROM_UI, Run
from lora_manager_core.generation.usage import loras_used
from lora_manager_ext.generation import FINAL_PROMPT


class HostResults(Protocol):
    """What of the host is needed to know what came of a job."""

    def last_result(self) -> Any: ...
    def is_interrupted(self) -> bool: ...
    def model(self) -> tuple[str, str, str] | None: ...


class RunKeeper(Protocol):
    """Keeps what was used; the manager does."""

    def record_run(self, run: Run) -> None:
        """Take it and return at once."""


@dataclass(frozen=True, slots=True)
class _Before:
    """How things stood when the outermost job of a thread began."""

    result: Any
    error: BaseException | None
    since: float


class UsageHook:
    """`keeper` gives the manager, or None while it has not started."""

    def __init__(
        self, host: HostResults, keeper: Callable[[], RunKeeper | None], log: logging.Logger
    ) -> None:
        self._host = host
        self._keeper = keeper
        self._log = log
        self._thread = threading.local()
        self._told = False

    def before_process(self, p: Any) -> None:
        """Callback `on_before_process`: a job begins, perhaps within another."""
        try:
            jobs = self._jobs()
            if not jobs:
                self._thread.before = _Before(
                    self._host.last_result(), sys.exc_info()[1], time.perf_counter()
                )
            jobs.append(p)
        except Exception:  # noqa: BLE001 - the host's border: generation goes on
            self._tell_error()

    def after_process(self, p: Any) -> None:
        """Callback `on_after_process`: it is over, however it ended."""
        try:
            jobs = self._jobs()
            if not any(job is p for job in jobs):
                return  # it failed before it began
            while jobs.pop() is not p:
                pass
            if not jobs and not getattr(p, FINAL_PROMPT, False):
                self._ended(p, self._thread.before)
        except Exception:  # noqa: BLE001 - as above
            self._tell_error()

    def _jobs(self) -> list[Any]:
        """The jobs that run in this thread, each within the one before."""
        if not hasattr(self._thread, "jobs"):
            self._thread.jobs = []
        jobs: list[Any] = self._thread.jobs
        return jobs

    def _ended(self, p: Any, before: _Before) -> None:
        keeper, result = self._keeper(), self._host.last_result()
        if keeper is None or result is before.result or sys.exc_info()[1] is not before.error:
            return
        images = _pictures(p, result, self._host.is_interrupted())
        if not images:
            return
        model = self._host.model()
        keeper.record_run(
            Run(
                FROM_UI,
                images,
                loras_used([str(prompt) for prompt in p.all_prompts or []], _batch_size(p)),
                duration_s=round(time.perf_counter() - before.since, 3),
                model=model[2] if model else None,
            )
        )

    def _tell_error(self) -> None:
        if not self._told:
            self._told = True
            self._log.exception("LoRA Manager: this job is missing in the usage")


def _pictures(p: Any, result: Any, interrupted: bool) -> int:
    """How many of the pictures ordered came out; a video is one."""
    made: int = len(result.images or []) - result.index_of_first_image
    if made <= 0 and getattr(result, "bytes", None):
        made = 1
    # masks and notes of the detailer are among the images, and the frames of a video
    made = min(made, len(p.all_prompts or [None]))
    if interrupted:  # of the batch it stood at, at most an unfinished one is there
        made = min(made, int(getattr(p, "iteration", 0) or 0) * _batch_size(p))
    return max(made, 0)


def _batch_size(p: Any) -> int:
    return max(int(getattr(p, "batch_size", 1) or 1), 1)
