"""Real processes for tests: `lora-manager worker`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from lora_manager_core.settings import Settings

#: Long enough for a slow machine; nothing waits for it unless it fails.
PATIENCE_S = 60.0


def wait_until(holds: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Block until something holds that no event tells of, because it is in another process."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s} s: {what}"
        time.sleep(0.02)


class WorkerProcess:
    """A running `lora-manager worker` of an installation; `close` it in the end."""

    def __init__(self, settings: Settings, folder: Path, *options: str) -> None:
        given = {
            "LORA_MANAGER_DATA_DIR": settings.data_dir,
            "LORA_MANAGER_DATABASE_URL": settings.database,
            "LORA_MANAGER_REDIS_URL": settings.redis_url,
            "LORA_MANAGER_LIBRARY_ROOTS": os.pathsep.join(map(str, settings.library_roots)),
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"worker-{time.monotonic_ns()}.log"
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lora_manager_core.cli", "worker", *options],
                env={**os.environ, **{name: str(value) for name, value in given.items()}},
                stdin=subprocess.DEVNULL,
                stderr=output,
            )

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(encoding="utf-8")

    def wait_until_at_work(self) -> None:
        """Block until one of its processes says that it works."""
        wait_until(lambda: "working on" in self.text(), f"no worker came up:\n{self.text()}")

    def children(self) -> list[psutil.Process]:
        """The processes that work."""
        return psutil.Process(self._process.pid).children()

    def kill(self) -> None:
        """`kill -9` to the supervisor and all its processes at one moment."""
        for process in [psutil.Process(self._process.pid), *self.children()]:
            process.kill()
        self._process.wait()

    def kill_supervisor(self) -> None:
        """`kill -9` to the supervisor alone."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        """SIGTERM to the supervisor; gives its exit status once it has ended."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(PATIENCE_S)

    def close(self) -> None:
        """End it, if it has not ended."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
