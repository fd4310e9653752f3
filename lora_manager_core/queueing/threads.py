"""The embedded queue: worker threads in this process, by lane."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from typing import TypeAlias

from lora_manager_core.queueing.base import JobQueue
from lora_manager_core.queueing.runner import JobRunner

_log = logging.getLogger(__name__)

_Lane: TypeAlias = "queue.SimpleQueue[str | None]"


class ThreadQueue(JobQueue):
    """`lanes` says how many threads each lane has; jobs of a lane start in the order they came."""

    def __init__(self, runner: JobRunner, lanes: Mapping[str, int]) -> None:
        self._runner = runner
        self._sizes = dict(lanes)
        self._lanes = self._empty_lanes()
        self._threads: list[threading.Thread] = []
        #: One for each start, so that a thread that outlives its `stop` takes nothing more.
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def submit(self, lane: str, job_id: str) -> None:
        """Queue a job; it waits until `start` was called."""
        self._lanes[lane].put(job_id)

    def cancel(self, job_id: str) -> None:
        """Stop the job if it runs here."""
        self._runner.cancel(job_id)

    def start(self) -> None:
        """Start the threads once."""
        with self._lock:
            if self._threads:
                return
            self._runner.resume()
            self._stopping = threading.Event()
            for lane, size in self._sizes.items():
                for number in range(size):
                    thread = threading.Thread(
                        target=self._work,
                        args=(self._lanes[lane], self._stopping),
                        name=f"{lane}-{number}",
                        daemon=True,
                    )
                    self._threads.append(thread)
                    thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask running jobs to stop and wait for the threads; what waits stays a pending row."""
        with self._lock:
            threads, self._threads = self._threads, []
            lanes, self._lanes = self._lanes, self._empty_lanes()
            self._stopping.set()
        self._runner.stop_all()
        for lane, size in self._sizes.items():
            for _ in range(size):
                lanes[lane].put(None)
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _empty_lanes(self) -> dict[str, _Lane]:
        return {lane: queue.SimpleQueue() for lane in self._sizes}

    def _work(self, lane: _Lane, stopping: threading.Event) -> None:
        while (job_id := lane.get()) is not None and not stopping.is_set():
            try:
                self._runner.run(job_id)
            except Exception:  # noqa: BLE001 - the border of a worker thread: it must outlive any job
                _log.exception("job %s could not be run", job_id)
