"""A real Redis of a test's own, to be killed and started again; it keeps nothing over that."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

_READY_WITHIN_S = 20.0


class RedisServer:
    """`redis-server` on a free loopback port; stopped until `start`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        binary = shutil.which("redis-server")
        assert binary is not None, "a Redis server runs, and its program is not on the PATH"
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [binary, "--port", str(self._port), *options, "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _READY_WITHIN_S
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self._port), 1.0) as line:
                    line.sendall(b"PING\r\n")
                    if line.recv(7) == b"+PONG\r\n":
                        return
            except OSError:
                assert time.monotonic() < deadline, "redis-server did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill it: nothing is said good-bye to, nothing is kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
