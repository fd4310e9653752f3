"""The embedded queue: worker threads in this process, by lane."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping

from lora_manager_core.queueing.base import JobQueue
from lora_manager_core.queueing.runner import JobRunner

_log = logging.getLogger(__name__)


class ThreadQueue(JobQueue):
    """`lanes` says how many threads each lane has; jobs of a lane start in the order they came."""

    def __init__(self, runner: JobRunner, lanes: Mapping[str, int]) -> None:
        self._runner = runner
        self._sizes = dict(lanes)
        self._lanes: dict[str, queue.SimpleQueue[str | None]] = {
            lane: queue.SimpleQueue() for lane in lanes
        }
        self._threads: list[threading.Thread] = []
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
            for lane, size in self._sizes.items():
                for number in range(size):
                    thread = threading.Thread(
                        target=self._work, args=(lane,), name=f"{lane}-{number}", daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask running jobs to stop and wait for the threads."""
        with self._lock:
            threads, self._threads = self._threads, []
        self._runner.cancel_all()
        for lane, size in self._sizes.items():
            for _ in range(size if threads else 0):
                self._lanes[lane].put(None)
        for thread in threads:
            thread.join(timeout_s)

    def _work(self, lane: str) -> None:
        while (job_id := self._lanes[lane].get()) is not None:
            try:
                self._runner.run(job_id)
            except Exception:  # noqa: BLE001 - the border of a worker thread: it must outlive any job
                _log.exception("job %s could not be run", job_id)
