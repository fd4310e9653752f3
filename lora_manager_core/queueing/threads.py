"""The embedded queue: worker threads in this process, by lane."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

from lora_manager_core.queueing.base import JobQueue, WorkerInfo
from lora_manager_core.queueing.runner import JobRunner

_log = logging.getLogger(__name__)


class _Lane:
    """The jobs that wait in one lane, each once, in the order they came."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, job_id: str) -> None:
        with self._changed:
            self._waiting.setdefault(job_id)
            self._changed.notify()

    def take(self) -> str | None:
        """The next job; None once the lane is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            return None if self._closed else self._waiting.popitem(last=False)[0]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class ThreadQueue(JobQueue):
    """`lanes` says how many threads each lane has; jobs of a lane start in the order they came."""

    def __init__(self, runner: JobRunner, lanes: Mapping[str, int]) -> None:
        self._runner = runner
        self._sizes = dict(lanes)
        self._lanes = self._empty_lanes()
        self._threads: list[threading.Thread] = []
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def submit(self, lane: str, job_id: str) -> None:
        """Queue a job; it waits until `start` was called.

        A job of a lane that has no threads here stays a row, for the process that has.
        """
        if lane in self._lanes:
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
            for lane, size in self._sizes.items():
                for number in range(size):
                    thread = threading.Thread(
                        target=self._work,
                        args=(self._lanes[lane],),
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
        for lane in lanes.values():
            lane.close()
        self._runner.stop_all()
        deadline = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def workers(self) -> list[WorkerInfo]:
        """The threads that live."""
        with self._lock:
            names = [thread.name for thread in self._threads if thread.is_alive()]
        return [WorkerInfo(name, (name.rpartition("-")[0],), name in self._busy) for name in names]

    def _empty_lanes(self) -> dict[str, _Lane]:
        return {lane: _Lane() for lane in self._sizes}

    def _work(self, lane: _Lane) -> None:
        name = threading.current_thread().name
        while (job_id := lane.take()) is not None:
            self._busy.add(name)
            try:
                self._runner.run(job_id)
            except Exception:  # noqa: BLE001 - the border of a worker thread: it must outlive any job
                _log.exception("job %s could not be run", job_id)
            finally:
                self._busy.discard(name)
