"""The supervisor of worker processes, with small processes in place of real workers."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from lora_manager_core.worker import Supervisor
from tests.processes import wait_until

#: Each notes its number in the file that its order names.
_BEGIN = """
import os, sys, time
path = sys.stdin.readline().strip()
with open(path, "a") as file:
    print(os.getpid(), file=file, flush=True)
"""
_CRASHES = _BEGIN + "sys.exit(3)"
_OBEYS = (
    _BEGIN
    + """
sys.stdin.read()
with open(path, "a") as file:
    print("put back", file=file, flush=True)
"""
)
_STUCK = _BEGIN + "time.sleep(600)"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def lines(notes: Path) -> list[str]:
    return notes.read_text().split("\n")[:-1] if notes.exists() else []


def supervise(script: str, notes: Path, until: int, processes: int = 1, **pauses: float) -> None:
    """Run the supervisor until so many processes have begun, then stop it."""
    supervisor = Supervisor([sys.executable, "-c", script], str(notes), processes, **pauses)
    try:
        supervisor.run(lambda: len(lines(notes)) < until)
    finally:
        supervisor.stop()


class TestCrashes:
    def test_are_followed_by_a_new_process_after_growing_pauses(
        self, notes: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        supervise(_CRASHES, notes, until=5, first_pause_s=0.1, longest_pause_s=0.4)

        assert len(set(lines(notes))) == 5
        told = [record.message.rpartition("; ")[2] for record in caplog.records]
        pauses = ["0.1", "0.2", "0.4", "0.4"]
        assert told[:4] == [f"the next one starts in {pause} s" for pause in pauses]
        assert "(status 3)" in caplog.records[0].message

    def test_of_processes_that_worked_for_long_lengthen_no_pause(
        self, notes: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        supervise(_CRASHES, notes, until=4, first_pause_s=0.1, healthy_s=0.0)

        told = {record.message.rpartition("; ")[2] for record in caplog.records}
        assert told == {"the next one starts in 0.1 s"}


class TestStopping:
    def test_lets_processes_put_back_what_they_have(self, notes: Path) -> None:
        supervise(_OBEYS, notes, until=2, processes=2)

        assert lines(notes)[2:] == ["put back", "put back"]

    def test_kills_a_process_that_does_not_end(
        self, notes: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        supervise(_STUCK, notes, until=1, grace_s=0.2)

        (pid,) = lines(notes)
        wait_until(lambda: not psutil.pid_exists(int(pid)), "the process still runs")
        assert "is killed" in caplog.text
