"""Helper processes that sketch files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from lora_manager_core.weights.row import sketch_row
from lora_manager_core.weights.sketching import SketchWorkers
from tests.fakes.lora_files import write_lora


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Ten files, one of them broken."""
    found = [str(write_lora(tmp_path / f"ü {n}.safetensors", seed=n)) for n in range(9)]
    (tmp_path / "broken.safetensors").write_bytes(b"")
    return [*found, str(tmp_path / "broken.safetensors")]


class TestRows:
    def test_of_helpers_are_those_made_here(self, paths: list[str]) -> None:
        with SketchWorkers(len(paths), 2) as workers:
            made = dict(workers.rows(paths, nullcontext))
            again = dict(workers.rows(paths, nullcontext))
        assert again == made
        here = {place: sketch_row(path) for place, path in enumerate(paths)}
        assert made.keys() == here.keys()
        assert "empty" in made[9]["problem"]
        for place in range(9):
            assert made[place]["norm"] == pytest.approx(here[place]["norm"], rel=1e-6)
            assert made[place]["profile"]["modules"] == 1

    def test_a_helper_that_dies_is_begun_again(self, paths: list[str]) -> None:
        with (
            SketchWorkers(len(paths), 1) as workers,
            closing(workers.rows(paths, nullcontext)) as rows,
        ):
            place, _ = next(rows)
            workers._helpers[0]._process.kill()
            made = {place, *(place for place, row in rows if row.get("sketch"))}
        assert len(made) == 9

    def test_a_file_that_kills_helpers_is_a_problem(self, paths: list[str]) -> None:
        with SketchWorkers(len(paths), 1) as workers:

            @contextmanager
            def deadly() -> Iterator[None]:
                workers._helpers[0].stop()
                yield

            with closing(workers.rows(paths[:1], deadly)) as rows:
                assert "memory" in next(rows)[1]["problem"]

    def test_what_a_turn_raises_ends_it(self, paths: list[str]) -> None:
        @contextmanager
        def refused() -> Iterator[None]:
            raise TimeoutError
            yield

        for helpers in (0, 2):
            with SketchWorkers(len(paths), helpers) as workers, pytest.raises(TimeoutError):
                list(workers.rows(paths, refused))

    def test_a_few_files_start_no_helper(self, paths: list[str]) -> None:
        with SketchWorkers(3) as workers:
            assert workers._helpers == []
            assert len(list(workers.rows(paths[:3], nullcontext))) == 3
