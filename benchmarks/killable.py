"""A real server process for benchmarks that kill it: started, asked, killed, started again."""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_manager_core.db.unit_of_work import Database, ReadSession

ROOT = Path(__file__).parents[1]


class Server:
    """`lora-manager serve` on one port, as often as it has to be started.

    `folder` is its data folder and has its log; `options` are further ones of the command,
    `settings` those that it takes from the environment.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        options: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        given = ["--port", str(self.port), "--data-dir", str(folder), *options]
        self._command = [sys.executable, "-m", "lora_manager_core.cli", "serve", *given]
        self._environment = {
            **os.environ,
            "LORA_MANAGER_DATABASE_URL": url,
            "LORA_MANAGER_AUTO_EMBED": "false",  # only what is asked for
            "LORA_MANAGER_AUTO_HASH": "false",
            **(settings or {}),
        }
        self._log = folder / "server.log"
        self._starts: list[float] = []
        self._began = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def usual_start_s(self) -> float:
        """Seconds from the start to the first answer, the median."""
        return statistics.median(self._starts)

    def start(self) -> None:
        """Start it, and do not wait."""
        self._began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, cwd=ROOT, stdout=log, stderr=log
            )

    def wait_until_ready(self) -> None:
        """Block until it answers."""
        while True:
            try:
                if ask(self.port, "GET", "/v1/health")[0] == 200:
                    self._starts.append(time.monotonic() - self._began)
                    return
            except OSError:
                time.sleep(0.02)
            if self._process is None or self._process.poll() is not None:
                sys.exit(f"The server ended by itself:\n{self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """As the kernel does when memory runs out: at once, and without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """In order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)


def ask(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Status and JSON of one request; OSError where the connection broke.

    `body` is sent as JSON, or as it is if it is bytes, with a `Content-Type` of the caller's.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    except (http.client.HTTPException, ValueError) as broken:  # in the middle of the answer
        raise ConnectionError from broken
    finally:
        connection.close()


@contextmanager
def reading(url: str) -> Iterator[ReadSession]:
    """A session on the server's database, beside it."""
    database = Database(url)
    try:
        with database.read() as session:
            yield session
    finally:
        database.close()
