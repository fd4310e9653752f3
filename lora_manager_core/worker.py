"""`lora-manager worker`: processes that take jobs from Redis, and the supervisor that keeps them.

The supervisor writes what a process needs into its standard input and leaves it open: as long as it
is open the process works, and its end, by order or because the supervisor is dead, means to stop.
That needs no signals, so it works on every system.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from lora_manager_core.bootstrap import Parts, build_application, lane_sizes
from lora_manager_core.queueing.rq import RqQueue
from lora_manager_core.settings import Settings

_log = logging.getLogger(__name__)

#: How often the supervisor looks at its processes.
_LOOK_S = 0.1


def supervise(settings: Settings, lanes: Sequence[str], processes: int) -> None:
    """Keep that many worker processes at work until SIGINT or SIGTERM, then stop them.

    Raises:
        ExtraNotInstalled: the `redis` extra is missing.
    """
    build_application(settings).database.close()  # what cannot be built is said here, once
    order = {"settings": settings.model_dump(mode="json"), "lanes": list(lanes)}
    supervisor = Supervisor(
        [sys.executable, "-m", "lora_manager_core.worker"], json.dumps(order), processes
    )
    with _sigterm_as_interrupt(), suppress(KeyboardInterrupt):
        supervisor.run()
    supervisor.stop()


def main() -> int:
    """One worker process: work until the standard input ends, or a signal comes."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s",
    )
    for name in ("alembic", "rq.worker"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with _sigterm_as_interrupt(), suppress(KeyboardInterrupt):
        order = json.loads(sys.stdin.readline())
        settings = Settings(**order["settings"])
        assert settings.redis_url is not None
        redis_url = settings.redis_url
        lanes = {name: n for name, n in lane_sizes(settings).items() if name in order["lanes"]}
        application = build_application(
            settings, Parts(queue=lambda runner: RqQueue(redis_url, runner, lanes))
        )
        try:
            application.start()
            _log.info("working on %s", ", ".join(lanes))
            sys.stdin.read()
        finally:
            application.stop()
    return 0


class Supervisor:
    """Runs `command` in so many processes, each with `order` as the first line of its input.

    One that ends is started again after a pause, which doubles from `first_pause_s` each time and
    is short again once a process has lived for `healthy_s`. `stop` gives them `grace_s` to end.
    """

    def __init__(
        self,
        command: Sequence[str],
        order: str,
        processes: int,
        *,
        first_pause_s: float = 1.0,
        longest_pause_s: float = 60.0,
        healthy_s: float = 60.0,
        grace_s: float = 30.0,
    ) -> None:
        self._order = order
        self._grace_s = grace_s
        pauses = (first_pause_s, longest_pause_s, healthy_s)
        self._places = [_Place(command, order, *pauses) for _ in range(processes)]

    def run(self, goes_on: Callable[[], bool] = lambda: True) -> None:
        """Look after the processes for as long as `goes_on` says, or until interrupted."""
        while goes_on():
            for place in self._places:
                place.look()
            time.sleep(_LOOK_S)

    def stop(self) -> None:
        """Have the processes put their jobs back and end; kill the ones that do not."""
        for place in self._places:
            place.ask_to_stop()
        deadline = time.monotonic() + self._grace_s
        for place in self._places:
            place.wait_or_kill(max(0.0, deadline - time.monotonic()))


class _Place:
    """One process after the other."""

    def __init__(
        self,
        command: Sequence[str],
        order: str,
        first_pause_s: float,
        longest_pause_s: float,
        healthy_s: float,
    ) -> None:
        self._command = command
        self._order = order
        self._first_pause_s = self._pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._healthy_s = healthy_s
        self._process: subprocess.Popen[str] | None = None
        self._began = 0.0
        self._start_at = 0.0

    def look(self) -> None:
        """Start a process when it is time; take note of one that has ended."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._start()
            return
        status = self._process.poll()
        if status is None:
            return
        if now - self._began >= self._healthy_s:
            self._pause_s = self._first_pause_s
        _log.warning(
            "worker process %d ended (status %d); the next one starts in %.1f s",
            self._process.pid,
            status,
            self._pause_s,
        )
        self._close_input()
        self._process, self._start_at = None, now + self._pause_s
        self._pause_s = min(self._longest_pause_s, 2 * self._pause_s)

    def ask_to_stop(self) -> None:
        """Close its input."""
        if self._process is not None:
            self._close_input()

    def wait_or_kill(self, timeout_s: float) -> None:
        """Wait for its end that long."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("worker process %d did not stop and is killed", self._process.pid)
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, text=True)
        self._began = time.monotonic()
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended already: the next look sees to that
            self._process.stdin.write(self._order + "\n")
            self._process.stdin.flush()

    def _close_input(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as SIGINT does; after the block neither does any more."""

    def _interrupt(_number: int, _frame: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    yield


if __name__ == "__main__":
    sys.exit(main())
