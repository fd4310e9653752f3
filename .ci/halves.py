"""The pytest step of `./check`: two processes side by side, each with servers of its own.

Most of tests/core takes about as long as all the rest, so it is one half; the other is whatever
else there is under tests/, and a few folders of tests/core. Standard library only.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from environment import ROOT, program, say
from servers import own_servers

#: Folders of tests/core that are in the second half, so that both take about as long.
_MOVED = ("embeddings", "recommendations", "weights", "queueing")
_PASSED, _NOTHING_COLLECTED = 0, 5
#: How long a pytest that is told to stop may take to clear up after its tests.
_STOP_WITHIN_S = 20.0


@dataclass
class Tests:
    """What came of them: whether all passed, how many did what, and why some were skipped."""

    passed: bool
    counts: Counter[str] = field(default_factory=lambda: Counter(passed=0, failed=0, skipped=0))
    skip_reasons: Counter[str] = field(default_factory=Counter)


def run_tests(arguments: Sequence[str], *, halved: bool, with_servers: bool) -> Tests:
    """Run pytest with these arguments, in two halves if there is a processor for each.

    The first half's output goes where ours goes; the second's is shown as a whole after it.
    Raises `ServerFailed`.
    """
    halved = halved and _processors() > 1
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lora-check-")))
        halves = []
        for where in _halves() if halved else ([],):
            urls = stack.enter_context(own_servers()) if with_servers else {}
            part = folder / str(len(halves))
            part.mkdir()
            halves.append(_Half(part, [*where, *arguments], {**os.environ, **urls}))
        for half in halves:
            stack.enter_context(half).start(shown=half is halves[0])
        ended = [half.wait() for half in halves]
        tests = Tests(_PASSED in ended and set(ended) <= {_PASSED, _NOTHING_COLLECTED})
        for half in halves:
            half.count(tests)
    return tests


def _halves() -> tuple[list[str], list[str]]:
    """Where each half has its tests, as arguments of pytest."""
    moved = [f"tests/core/{name}" for name in _MOVED]
    tests = {path.relative_to(ROOT).parts[1] for path in (ROOT / "tests").rglob("test_*.py")}
    rest = [f"tests/{name}" for name in sorted(tests - {"core"})]
    return ["tests/core", *(f"--ignore={path}" for path in moved)], [*rest, *moved]


class _Half:
    """One pytest process; leaving the `with` ends it, if it has not ended by itself."""

    def __init__(self, folder: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self._folder = folder
        self._arguments = arguments
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._shown = True

    def __enter__(self) -> _Half:
        return self

    def start(self, *, shown: bool) -> None:
        """Start pytest; its output is kept for later unless it is `shown` as it comes."""
        command = [program("python"), "-m", "pytest", "--durations=10"]
        command += [f"--junit-xml={self._folder / 'results.xml'}", *self._arguments]
        self._shown = shown
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdout=None if shown else output,
                stderr=None if shown else subprocess.STDOUT,
            )

    def wait(self) -> int:
        """pytest's exit status, once it has ended and its output was shown."""
        assert self._process is not None
        if not self._shown:
            say(f"\n-- beside it: pytest {' '.join(self._arguments)}")
        status = self._process.wait()
        if not self._shown:
            with (self._folder / "output").open("rb") as output:
                shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
        return status

    def count(self, tests: Tests) -> None:
        """Add what pytest's own record says; none is there if it broke down."""
        record = self._folder / "results.xml"
        if not record.exists():
            return
        for case in ElementTree.parse(record).iter("testcase"):
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                tests.counts["failed"] += 1
            elif skipped is not None:
                tests.counts["skipped"] += 1
                tests.skip_reasons[skipped.get("message") or "no reason given"] += 1
            else:
                tests.counts["passed"] += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._stop(told_already=kind is KeyboardInterrupt)

    def _stop(self, *, told_already: bool) -> None:
        # Ctrl-C reached pytest, too: a second one would cut short how it clears up.
        if os.name == "nt":
            self._process.terminate()
        elif not told_already:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
