"""A process of its own that answers lines: for work that would hold up the interpreter here.

The module it runs imports no more than it needs, so that it starts fast and works the same inside
SD.Next and on Windows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]


class HelperProcess:
    """One process; ask it once and take the answer before you ask again.

    So neither side ever waits for room in the other's pipe. Leaving its `with` ends it.
    """

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        """Start `python -m module`; raises OSError where no process can be had."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=_PROJECT,
            env={**os.environ, "PYTHONPATH": str(_PROJECT), **(environment or {})},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )

    def __enter__(self) -> HelperProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.communicate()

    def kill(self) -> None:
        """End it at once; whoever waits for an answer gets None. From any thread."""
        self._process.kill()

    def ask(self, line: bytes) -> None:
        """Send one line, without its end."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except OSError:  # it died: its answer will say so
            pass

    def answer(self) -> bytes | None:
        """The line it answers with; None if the process is of no use any more."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return line if line.endswith(b"\n") else None
