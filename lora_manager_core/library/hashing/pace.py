"""How far hashing is, how fast, and how long it will take, by the bytes it has read."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lora_manager_core.library.hashing.workers import HashedFile
from lora_manager_core.queueing.base import JobContext, JobProgress

#: How often it is told at most.
_INTERVAL_S = 0.25


class HashPace:
    """Reports the progress of one job. The rate is that of this run alone, pauses included."""

    def __init__(self, context: JobContext, files: int, size_bytes: int) -> None:
        self._context = context
        self._files = files
        self._bytes = size_bytes
        self._done_files = 0
        self._done_bytes = 0
        self._read = 0
        self._began = time.monotonic()
        self._told_at = 0.0

    @property
    def bytes_per_s(self) -> float | None:
        """The bytes of this run by its seconds; None before anything was read."""
        elapsed = time.monotonic() - self._began
        return self._read / elapsed if self._read and elapsed > 0 else None

    @property
    def left_s(self) -> float | None:
        """The seconds to the end at that rate; None while it is not known."""
        rate = self.bytes_per_s
        return max(0, self._bytes - self._done_bytes) / rate if rate else None

    def skip(self, files: int, size_bytes: int) -> None:
        """So many of them were not to be read."""
        self._done_files += files
        self._bytes -= size_bytes
        self._tell()

    def add(self, done: Sequence[HashedFile], read: int) -> None:
        """These are done; so many bytes were read in all."""
        self._done_files += len(done)
        self._done_bytes += sum(one.file.size for one in done)
        self._read = read
        if time.monotonic() - self._told_at >= _INTERVAL_S:
            self._tell()

    def finish(self, read: int) -> None:
        """All are done."""
        self._read = read
        self._tell()

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        rate = self.bytes_per_s
        pace = f", {rate / 1e6:.0f} MB/s" if rate else ""
        self._context.report(
            JobProgress(
                self._done_bytes / self._bytes if self._bytes else 1.0,
                self._done_files,
                self._files,
                eta_s=self.left_s,
                message=f"{self._done_files} of {self._files} files hashed{pace}",
            )
        )
