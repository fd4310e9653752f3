"""Brings files that were moved up to date in the catalogue, for whoever moved them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.queueing.base import JobContext, JobProgress


class MovedFiles:
    """A `relocating.Refresh`: a scan of these paths, which nobody waits to cancel."""

    def __init__(self, scan: LibraryScan) -> None:
        self._scan = scan

    def __call__(self, paths: Sequence[Path]) -> None:
        """Look at them now."""
        self._scan.run_paths(paths, _Unwatched())


class _Unwatched(JobContext):
    job_id = "library.files"
    payload: dict[str, object] = {}

    def report(self, progress: JobProgress) -> None:
        """Nobody looks at it."""

    def is_cancelled(self) -> bool:
        """It is quick."""
        return False
