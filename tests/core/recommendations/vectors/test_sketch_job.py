"""The job that looks at weights, on a real database and real files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sqlalchemy import update

from lora_manager_core.db import counters
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.base import JobCancelled
from lora_manager_core.recommendations.vectors.sketch_job import SketchJob
from lora_manager_core.recommendations.vectors.sketch_repository import (
    DueFile,
    NewSketch,
    SketchStore,
    SketchWriter,
)
from lora_manager_core.weights.method import METHOD
from lora_manager_core.weights.sketch import sketch_file
from tests.fakes.embedded_adapters import add_adapter, delete_adapter
from tests.fakes.lora_files import touch_later, write_lora
from tests.fakes.running_job import FakeContext


class FreeTurns:
    """Nobody makes pictures; counts the turns, and may end the job at one of them."""

    def __init__(self) -> None:
        self.taken = 0
        self.cancel_at: int | None = None

    def device(self, needed_bytes: int) -> str:
        return "cpu"

    def turn(self, device: str, is_cancelled: Callable[[], bool]) -> AbstractContextManager[None]:
        assert device == "cpu"

        @contextmanager
        def turn() -> Iterator[None]:
            self.taken += 1
            if self.taken == self.cancel_at:
                raise JobCancelled
            yield

        return turn()


def add_file(database: Database, path: Path) -> str:
    """A record of that file, as a scan makes it; gives its id, the file's stem."""
    status = path.stat()
    return add_adapter(
        database, path.stem, id=path.stem, file_path=str(path), file_key=str(path),
        file_size=status.st_size, file_mtime_ns=status.st_mtime_ns,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, database: Database) -> Path:
    """Three adapters with files that can be read."""
    for number in range(3):
        add_file(database, write_lora(tmp_path / f"a{number}.safetensors", seed=number))
    return tmp_path


def run(database: Database, turns: FreeTurns | None = None, helpers: int = 0, **order: Any) -> dict:
    context = FakeContext(payload=order)
    report = dict(SketchJob(database, turns or FreeTurns(), helpers).run(context))
    assert not context.reported or context.reported[-1].fraction in (0.0, 1.0)
    return report


def stored(database: Database) -> dict[str, Any]:
    with database.read() as session:
        return {row.adapter_id: row for row in SketchStore(session).changed_since(0)}


def counts(database: Database) -> dict[str, int]:
    with database.read() as session:
        return dict(SketchJob(database, FreeTurns()).counts(session))


def is_due(database: Database) -> bool:
    with database.read() as session:
        return SketchJob(database, FreeTurns()).is_due(session)


class TestRun:
    @pytest.mark.parametrize("helpers", [0, 2])
    def test_stores_what_the_files_look_like(
        self, database: Database, folder: Path, helpers: int
    ) -> None:
        assert is_due(database)
        report = run(database, helpers=helpers)

        assert (report["computed"], report["skipped"], report["failed"]) == (3, 0, 0)
        assert not is_due(database)
        assert counts(database) == {"current": 3}
        for number in range(3):
            row = stored(database)[f"a{number}"]
            made = sketch_file(folder / f"a{number}.safetensors")
            sketch = np.frombuffer(row.sketch, "<f2").reshape(64, 64).astype(np.float32)
            assert np.allclose(sketch, made.sketch, atol=1e-3)
            assert row.norm == pytest.approx(made.norm, rel=1e-6)
            assert (row.problem, row.approximate, row.method) == (None, False, METHOD)
        with database.read() as session:
            profile = SketchStore(session).profile("a1")
        assert profile is not None
        assert profile["rank"] == 4
        assert profile["blocks"]["in"]["modules"] == 1

    def test_does_only_what_is_due(self, database: Database, folder: Path) -> None:
        run(database)
        with database.read() as session:
            before = counters.read_counter(session, counters.EMBEDDINGS)
        path = write_lora(folder / "a1.safetensors", seed=9)
        touch_later(path)
        with database.write() as session:
            values = {"file_mtime_ns": path.stat().st_mtime_ns}
            session.execute(update(Adapter).where(Adapter.id == "a1").values(**values))

        assert counts(database) == {"current": 2, "stale": 1}
        assert run(database)["computed"] == 1
        assert [row.adapter_id for row in stored(database).values() if row.revision > before] == [
            "a1"
        ]

    def test_takes_a_turn_for_each_file(self, database: Database, folder: Path) -> None:
        turns = FreeTurns()
        run(database, turns)
        assert turns.taken == 3

    def test_keeps_what_is_done_when_it_is_cancelled(
        self, database: Database, folder: Path
    ) -> None:
        turns = FreeTurns()
        turns.cancel_at = 3
        with pytest.raises(JobCancelled):
            run(database, turns, batch_size=1)
        assert len(stored(database)) == 2
        assert run(database)["computed"] == 1
        assert counts(database) == {"current": 3}

    @pytest.mark.parametrize("helpers", [0, 1])
    def test_notes_a_problem_once(self, database: Database, folder: Path, helpers: int) -> None:
        broken = folder / "broken.safetensors"
        broken.write_bytes(b"\xff" * 20)
        add_file(database, broken)

        report = run(database, helpers=helpers)

        assert (report["computed"], report["failed"]) == (4, 1)
        assert report["errors"][0]["adapter_id"] == "broken"
        assert "100 MB" in report["errors"][0]["detail"]
        assert stored(database)["broken"].sketch is None
        assert counts(database) == {"current": 3, "failed": 1}
        assert not is_due(database)
        assert run(database, helpers=helpers)["computed"] == 0

    def test_of_zeros_is_a_problem_with_a_norm(self, database: Database, tmp_path: Path) -> None:
        save_file(
            {"lora_unet_conv_in.lora_down.weight": np.zeros((2, 4), np.float32),
             "lora_unet_conv_in.lora_up.weight": np.zeros((4, 2), np.float32)},
            tmp_path / "zero.safetensors",
        )  # fmt: skip
        add_file(database, tmp_path / "zero.safetensors")
        run(database)
        row = stored(database)["zero"]
        assert (row.sketch, row.norm) == (None, 0.0)
        assert "zero" in row.problem

    def test_an_order_with_ids_does_those(self, database: Database, folder: Path) -> None:
        run(database)
        again = run(database, adapter_ids=["a0", "a2", "unknown"])
        assert (again["computed"], again["skipped"]) == (0, 3)
        forced = run(database, adapter_ids=["a0", "a2", "unknown"], force=True)
        assert (forced["computed"], forced["skipped"]) == (2, 1)

    def test_leaves_out_what_cannot_be_read_safely(
        self, database: Database, tmp_path: Path
    ) -> None:
        pickle = tmp_path / "old.pt"
        pickle.write_bytes(b"\x80\x04.")
        add_file(database, pickle)
        add_adapter(database, "gone", file_state="missing")
        assert not is_due(database)
        assert counts(database) == {"no_file": 2}
        assert run(database)["computed"] == 0


class TestPut:
    def test_passes_over_adapters_deleted_meanwhile(self, database: Database, folder: Path) -> None:
        delete_adapter(database, "a1")
        with database.write() as session:
            SketchWriter(session).put(
                [
                    NewSketch(DueFile(i, "x", 1, 2), METHOD, b"\0" * 8192, norm=1.0)
                    for i in ("a0", "a1")
                ]
            )
        assert set(stored(database)) == {"a0"}

    def test_another_method_is_stale(self, database: Database, folder: Path) -> None:
        run(database)
        delete_adapter(database, "a1")
        delete_adapter(database, "a2")
        with database.read() as session:
            store = SketchStore(session)
            assert store.counts(METHOD + 1) == {"stale": 1}
            assert [file.adapter_id for file in store.files(METHOD + 1)] == ["a0"]
            assert store.get("a0") == store.changed_since(0)[0]
            assert store.get("a1") is None
