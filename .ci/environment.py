"""Makes `.venv` and installs into it: the part that `./check` and `./quickstart` share.

Standard library only, since it runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - this runs before anything checks it
    sys.exit(f"This needs Python 3.10 or newer; this one is {sys.version.split()[0]}.")

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
#: The versions everything is tested with, as pip constraints.
PINS = ROOT / "tests" / "host-pins.txt"
_BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
_EXE = ".exe" if os.name == "nt" else ""

#: The version everything is tested with; where it is not to be had, any that pyproject allows.
_TORCH = ("torch==2.13.0", "torch>=2.2")


class SetupFailed(Exception):
    """The environment could not be made; the message says what to do."""


def program(name: str) -> str:
    """The path of a program inside `.venv`."""
    return str(_BIN / f"{name}{_EXE}")


def make_venv() -> None:
    """Make `.venv` unless it is there and works."""
    if Path(program("python")).exists() and _succeeds([program("python"), "-m", "pip", "-V"]):
        return
    say("Making .venv")
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True
    )
    if made.returncode:
        raise SetupFailed(
            f"Python could not make a virtual environment in {VENV}:\n"
            f"{_tail(made.stdout + made.stderr)}\n"
            "On Debian and Ubuntu install its venv module first: apt-get install python3-venv"
        )


def install(
    stamp: str, inputs: Iterable[Path], steps: Callable[[], None], *, anew: bool = False
) -> None:
    """Run the install `steps` unless `inputs` are what they were the last time."""
    file = VENV / f".{stamp}-installed"
    digest = hashlib.sha256(sys.version.encode())
    for path in inputs:
        digest.update(path.read_bytes())
    if not anew and file.exists() and file.read_text(encoding="utf-8") == digest.hexdigest():
        return
    file.unlink(missing_ok=True)
    steps()
    file.write_text(digest.hexdigest(), encoding="utf-8")


def install_torch() -> None:
    """Install torch on its own, before what depends on it, so that nothing else picks the build."""
    wanted, allowed = _TORCH
    try:
        pip("torch (the largest part)", wanted)
    except SetupFailed:
        say(f"  {wanted} is not to be had here; taking the newest")
        pip("torch", allowed)


def pip(what: str, *arguments: str) -> None:
    """`pip install` quietly within `PINS`, saying what and how long; raises `SetupFailed`."""
    say(f"Installing {what} ...")
    started = time.monotonic()
    command = [program("python"), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    command += ["-c", str(PINS), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SetupFailed(
            f"pip could not install {what}:\n{_tail(done.stdout + done.stderr)}\n"
            "Check the network connection (and pip's proxy and index settings), then run this "
            "again; what was installed so far is kept."
        )
    say(f"  done in {time.monotonic() - started:.0f} s")


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201 - this is what the person at the command sees


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _tail(output: str, lines: int = 15) -> str:
    return "\n".join(f"  | {line}" for line in output.strip().splitlines()[-lines:])
