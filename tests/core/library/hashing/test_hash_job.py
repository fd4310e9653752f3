"""The job that hashes a library, on a real database and real files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.hashing.digest import FileHashes
from lora_manager_core.library.hashing.job import HashJob
from lora_manager_core.library.hashing.known import HashableFile, NothingKnown
from lora_manager_core.library.hashing.moved import MovedFiles
from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.queueing.base import JobCancelled
from tests.fakes.lora_files import touch_later, write_lora
from tests.fakes.running_job import FakeContext


class Turns:
    """Turns that call somebody each time."""

    def __init__(self, at_each: Callable[[int], None] = lambda _: None) -> None:
        self.taken = 0
        self._at_each = at_each

    def device(self, needed_bytes: int) -> str:
        return "cpu"

    def turn(self, device: str, is_cancelled: Callable[[], bool]) -> AbstractContextManager[None]:
        assert device == "cpu"
        self.taken += 1
        self._at_each(self.taken)

        @contextmanager
        def turn() -> Iterator[None]:
            yield

        return turn()


class Told:
    """Hashes that somebody else made of some files."""

    def __init__(self, hashes: Mapping[str, FileHashes]) -> None:
        self._hashes = hashes

    def known(self, files: Sequence[HashableFile]) -> Mapping[str, FileHashes]:
        return {f.path: self._hashes[f.path] for f in files if f.path in self._hashes}


@pytest.fixture
def folder(tmp_path: Path, database: Database) -> Path:
    """Four files that were scanned."""
    folder = tmp_path / "library"
    for number in range(4):
        write_lora(folder / f"a{number}.safetensors", seed=number)
    scan(database, folder)
    return folder


def scan(database: Database, folder: Path) -> None:
    LibraryScan(database, lambda: [folder], lambda _files: {}).run(FakeContext())


def run(database: Database, folder: Path, **order: Any) -> dict[str, Any]:
    turns, known = order.pop("turns", Turns()), order.pop("known", NothingKnown())
    context = order.pop("context", None) or FakeContext(payload=order)
    moved = MovedFiles(database, lambda: [folder])
    return dict(HashJob(database, turns, known, moved, threads=2).run(context))


def rows(database: Database) -> dict[str, Adapter]:
    with database.read() as session:
        return {adapter.name: adapter for adapter in session.scalars(select(Adapter))}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestHashing:
    def test_gives_every_file_its_hashes(self, database: Database, folder: Path) -> None:
        context = FakeContext()
        report = run(database, folder, context=context)
        assert (report["hashed"], report["failed"], report["changed"]) == (4, 0, 0)
        size = sum(path.stat().st_size for path in folder.iterdir())
        assert report["read_bytes"] == size
        for name, row in rows(database).items():
            assert row.primary_file_sha256 == sha256(folder / f"{name}.safetensors")
            assert row.file_sha256_state == "done"
            assert (row.autov2, row.autov3) == (
                row.primary_file_sha256[:10],
                row.tensors_sha256[:12],
            )
        last = context.reported[-1]
        assert (last.fraction, last.step, last.steps) == (1.0, 4, 4)
        assert "MB/s" in (last.message or "")
        assert run(database, folder)["read_bytes"] == 0

    def test_a_file_with_two_records_is_read_once(self, database: Database, folder: Path) -> None:
        with database.write() as session:
            one = session.scalars(select(Adapter).where(Adapter.name == "a0")).one()
            two = {c.key: getattr(one, c.key) for c in Adapter.__table__.columns if c.key != "pk"}
            two.update(id="second", name="second", name_key="second")
            session.add(Adapter(**two))
        assert run(database, folder)["hashed"] == 4
        found = rows(database)
        assert found["second"].primary_file_sha256 == found["a0"].primary_file_sha256 is not None

    def test_a_killed_job_goes_on(self, database: Database, folder: Path) -> None:
        def kill(taken: int) -> None:
            if taken == 5:
                raise JobCancelled

        first = Turns(kill)
        with pytest.raises(JobCancelled):
            run(database, folder, turns=first)
        assert run(database, folder)["failed"] == 0
        assert {row.file_sha256_state for row in rows(database).values()} == {"done"}

    def test_a_cancelled_job_stops_at_the_next_piece(
        self, database: Database, folder: Path
    ) -> None:
        turns = Turns()
        with pytest.raises(JobCancelled):
            run(database, folder, turns=turns, context=FakeContext(cancelled=True))
        assert turns.taken <= 2
        assert {row.file_sha256_state for row in rows(database).values()} == {"pending"}

    @pytest.mark.parametrize("scanned", [False, True], ids=["unseen", "seen by a scan"])
    def test_a_file_that_changes_meanwhile_stays_pending(
        self, database: Database, folder: Path, scanned: bool
    ) -> None:
        def change(taken: int) -> None:
            if taken == 1:
                touch_later(folder / "a3.safetensors")
                if scanned:
                    scan(database, folder)

        assert run(database, folder, turns=Turns(change))["changed"] == 1
        assert rows(database)["a3"].file_sha256_state == "pending"
        scan(database, folder)
        assert run(database, folder)["hashed"] == 1
        assert rows(database)["a3"].primary_file_sha256 == sha256(folder / "a3.safetensors")

    def test_a_replaced_file_loses_its_hashes(self, database: Database, folder: Path) -> None:
        run(database, folder)
        touch_later(write_lora(folder / "a1.safetensors", seed=99))
        scan(database, folder)
        row = rows(database)["a1"]
        assert row.file_sha256_state == "pending"
        assert (row.primary_file_sha256, row.autov2, row.tensors_sha256, row.autov3) == (None,) * 4
        assert run(database, folder)["hashed"] == 1

    def test_what_cannot_be_read_is_said_and_tried_again_when_asked(
        self, database: Database, folder: Path
    ) -> None:
        path = folder / "a2.safetensors"
        status, content = path.stat(), path.read_bytes()
        path.unlink()
        path.mkdir()
        with database.write() as session:
            row = session.scalars(select(Adapter).where(Adapter.name == "a2")).one()
            problem = row.file_problem
        report = run(database, folder)
        assert report["failed"] == 1
        assert report["errors"][0]["file_path"] == str(path)
        row = rows(database)["a2"]
        assert (row.file_sha256_state, row.file_problem) == ("failed", problem)
        assert "cannot be read" in (row.file_sha256_problem or "")
        path.rmdir()
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert run(database, folder)["hashed"] == 0
        assert run(database, folder, retry_failed=True)["hashed"] == 1
        assert rows(database)["a2"].file_sha256_problem is None

    def test_hashes_of_others_save_the_reading(self, database: Database, folder: Path) -> None:
        path = folder / "a0.safetensors"
        told = FileHashes("ab" * 32, "cd" * 32)
        report = run(database, folder, known=Told({str(path): told}))
        assert (report["known"], report["hashed"]) == (1, 3)
        row = rows(database)["a0"]
        assert (row.primary_file_sha256, row.autov3) == ("ab" * 32, "cd" * 6)

    def test_says_where_a_side_file_tells_of_another(
        self, database: Database, folder: Path
    ) -> None:
        for name, told in (("a0", "00" * 32), ("a1", sha256(folder / "a1.safetensors"))):
            side = {"file_name": name, "sha256": told, "model_name": name}
            (folder / f"{name}.metadata.json").write_text(json.dumps(side))
        scan(database, folder)
        report = run(database, folder)
        assert [one["file_path"] for one in report["told_otherwise"]] == [
            str(folder / "a0.safetensors")
        ]
        row = rows(database)["a0"]
        assert row.primary_file_sha256 == sha256(folder / "a0.safetensors")
        assert (row.extra or {})["sha256_told"] == "00" * 32
