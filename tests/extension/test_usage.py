"""Which jobs of the host are counted, with a written job and a written host."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from lora_manager_core.generation.runs import Run
from lora_manager_ext.generation import FINAL_PROMPT
from lora_manager_ext.usage import UsageHook


class FakeHost:
    """Keeps the last result as the host does: replaced at the end of each job that goes through."""

    def __init__(self) -> None:
        self.result: Any = None
        self.interrupted = False
        self.loaded: tuple[str, str, str] | None = ("sd", "StableDiffusionPipeline", "tiny-sd")

    def last_result(self) -> Any:
        return self.result

    def is_interrupted(self) -> bool:
        return self.interrupted

    def model(self) -> tuple[str, str, str] | None:
        return self.loaded

    def finish(self, images: int, grid: bool = False, video: bytes | None = None) -> None:
        self.result = SimpleNamespace(
            images=[object()] * (images + grid), index_of_first_image=int(grid), bytes=video
        )


class Keeper:
    """Keeps runs in a list."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def record_run(self, run: Run) -> None:
        self.runs.append(run)


def job(*prompts: str, **more: Any) -> SimpleNamespace:
    fields = {"all_prompts": list(prompts), "batch_size": 1, "iteration": 0, **more}
    return SimpleNamespace(**fields)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def hook(host: FakeHost, keeper: Keeper) -> UsageHook:
    return UsageHook(host, lambda: keeper, logging.getLogger("test-usage"))


@contextmanager
def processing(hook: UsageHook, p: Any) -> Iterator[None]:
    """As the host's `process_images` has it."""
    try:
        hook.before_process(p)
        yield
    finally:
        hook.after_process(p)


class TestCounted:
    def test_once_with_what_applied(self, hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
        with processing(hook, job("a cat <lora:warm:0.8>", "a dog <lora:cold:0.3>")):
            host.finish(2)
        (run,) = keeper.runs
        assert (run.source, run.images, run.job_id, run.model) == ("ui", 2, None, "tiny-sd")
        assert run.uses == {"warm": 0.8, "cold": 0.3}
        assert run.duration_s is not None
        assert run.duration_s >= 0

    def test_without_a_lora(self, hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
        host.loaded = None
        with processing(hook, job("a cat")):
            host.finish(1)
        assert [(run.images, dict(run.uses), run.model) for run in keeper.runs] == [(1, {}, None)]

    def test_a_batch_has_one_set(self, hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
        with processing(hook, job("a <lora:warm:1>", "b", batch_size=2)):
            host.finish(2)
        assert [dict(run.uses) for run in keeper.runs] == [{"warm": 1.0}]

    def test_each_cell_of_a_grid(self, hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
        for strength in ("0.2", "0.4", "0.6"):
            with processing(hook, job(f"a <lora:warm:{strength}>")):
                host.finish(1)
        assert [run.uses["warm"] for run in keeper.runs] == [0.2, 0.4, 0.6]

    @pytest.mark.parametrize(
        ("finish", "images"),
        [
            pytest.param(lambda host: host.finish(2, grid=True), 2, id="a grid is none of them"),
            pytest.param(lambda host: host.finish(5), 2, id="nor are masks and notes"),
            pytest.param(lambda host: host.finish(0, video=b"mp4"), 1, id="a video is one"),
        ],
    )
    def test_how_many(
        self,
        hook: UsageHook,
        host: FakeHost,
        keeper: Keeper,
        finish: Callable[[FakeHost], None],
        images: int,
    ) -> None:
        with processing(hook, job("a", "b")):
            finish(host)
        assert [run.images for run in keeper.runs] == [images]

    def test_the_batches_before_an_interrupt(
        self, hook: UsageHook, host: FakeHost, keeper: Keeper
    ) -> None:
        with processing(hook, job(*"abcdef", batch_size=2, iteration=2)):
            host.interrupted = True
            host.finish(5)  # the last one is the unfinished one
        assert [run.images for run in keeper.runs] == [4]

    def test_a_job_within_another_is_part_of_it(
        self, hook: UsageHook, host: FakeHost, keeper: Keeper
    ) -> None:
        outer = job("outer")
        with processing(hook, outer):
            with processing(hook, job("inner")):
                host.finish(1)
            with processing(hook, outer):  # a stage that says so of the very same job
                pass
            host.finish(1)
        assert len(keeper.runs) == 1

    def test_after_a_job_that_failed_early(
        self, hook: UsageHook, host: FakeHost, keeper: Keeper
    ) -> None:
        hook.after_process(job("never began"))
        with processing(hook, job("a")):
            host.finish(1)
        assert len(keeper.runs) == 1


class TestNotCounted:
    def test_a_job_without_a_result(self, hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
        host.finish(1)  # of a job before
        with processing(hook, job("a")):
            pass
        assert keeper.runs == []

    def test_a_job_that_raised(self, hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
        """After the result of a stage of its own, such as the detailer's."""

        def _job() -> None:
            with processing(hook, job("a")):
                host.finish(1)
                raise RuntimeError("out of memory")

        with pytest.raises(RuntimeError):
            _job()
        assert keeper.runs == []

    def test_a_job_interrupted_in_its_first_batch(
        self, hook: UsageHook, host: FakeHost, keeper: Keeper
    ) -> None:
        with processing(hook, job("a", "b")):
            host.interrupted = True
            host.finish(1)
        assert keeper.runs == []

    def test_a_job_that_made_nothing(self, hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
        with processing(hook, job("a")):
            host.finish(0)
        assert keeper.runs == []

    def test_our_own_jobs(self, hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
        """They have recorded themselves."""
        with processing(hook, job("a", **{FINAL_PROMPT: True})):
            host.finish(1)
        assert keeper.runs == []

    def test_before_the_manager_has_started(self, host: FakeHost) -> None:
        hook = UsageHook(host, lambda: None, logging.getLogger("test-usage"))
        with processing(hook, job("a")):
            host.finish(1)


def test_a_failure_of_ours_stops_nothing(host: FakeHost, caplog: pytest.LogCaptureFixture) -> None:
    def _keeper() -> Keeper:
        raise RuntimeError("the manager is gone")

    hook = UsageHook(host, _keeper, logging.getLogger("test-usage"))
    for _ in range(2):
        with processing(hook, job("a")):
            host.finish(1)
    assert [record.message for record in caplog.records] == [
        "LoRA Manager: this job is missing in the usage"
    ]


def test_what_it_costs(hook: UsageHook, host: FakeHost, keeper: Keeper) -> None:
    prompt = "a very long prompt, " * 50 + " ".join(f"<lora:n{i}:0.5>" for i in range(20))
    jobs = [job(*[prompt] * 8) for _ in range(20)]
    began = time.perf_counter()
    for p in jobs:
        with processing(hook, p):
            host.finish(8)
    took_s = time.perf_counter() - began
    assert len(keeper.runs) == 20
    assert took_s / 20 < 0.005
