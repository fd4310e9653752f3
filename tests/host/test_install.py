"""`install.py` on the host's own Python: it adds, and moves nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.host.running import PROJECT

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]


def test_nothing_that_is_installed_moves(checkout: Path, host_python: Path) -> None:
    before = _freeze(host_python)
    done = subprocess.run(
        [str(host_python), str(PROJECT / "install.py")],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\n") == 1
    assert before <= _freeze(host_python)


def _freeze(python: Path) -> set[str]:
    """Every installed version; `--all`, because setuptools is one of the host's pins."""
    command = [str(python), "-m", "pip", "freeze", "--all", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())
