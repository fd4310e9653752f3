"""Reading many files: helper processes give what this process would, and may die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lora_manager_core.library.reading import FileReaders
from lora_manager_core.library.walk import FoundFile, walk_roots
from tests.fakes.lora_files import write_lora


@pytest.fixture
def found(tmp_path: Path) -> list[FoundFile]:
    for number in range(25):
        write_lora(tmp_path / f"nüm {number}.safetensors", {"ss_steps": str(number)})
    (tmp_path / "nüm 3.txt").write_text("described", encoding="utf-8")
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 20)
    return walk_roots([tmp_path]).files


def _batches(found: list[FoundFile]) -> list[list[FoundFile]]:
    return [found[start : start + 4] for start in range(0, len(found), 4)]


def _read(found: list[FoundFile], helpers: int) -> list[list[dict]]:
    with FileReaders(len(found), helpers) as readers:
        batches = list(readers.batches(_batches(found)))
    for batch in batches:
        for row in batch:
            row.pop("last_ingested_at")
    return batches


@pytest.mark.parametrize("helpers", [1, 3, 20])
def test_helpers_give_what_this_process_gives_in_the_same_order(found, helpers):
    assert _read(found, helpers) == _read(found, 0)


def test_batches_of_a_helper_that_dies_are_read_here(found, caplog):
    with FileReaders(len(found), 2) as readers:
        asked = readers.batches(_batches(found))
        first = next(asked)
        readers._helpers[0]._process.kill()
        rest = list(asked)
    assert [len(batch) for batch in [first, *rest]] == [len(batch) for batch in _batches(found)]
    assert "ended early" in caplog.text


def test_small_scans_start_no_helper(found):
    with FileReaders(len(found)) as readers:
        assert readers._helpers == []


def test_the_helper_process_loads_no_database(tmp_path):
    script = (
        "import sys, lora_manager_core.library.reading_process;"
        "sys.exit('sqlalchemy' in sys.modules or 'fastapi' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
