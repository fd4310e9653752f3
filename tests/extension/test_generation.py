"""The in-process backend over a written host that takes its steps in real time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from lora_manager_core.backends.base import GenerationCancelled, GenerationRequest, StepProgress
from lora_manager_core.errors import GenerationFailed
from lora_manager_ext.generation import FINAL_PROMPT, InProcessBackend
from lora_manager_ext.lora_names import LoraNames

STEP_S = 0.1
REQUEST = GenerationRequest("a cat", steps=30, sampler_name="Euler", width=64, height=64, seed=7)


class FakeHost:
    """One job at a time; its stages forget an interrupt as they begin, as the host's do."""

    def __init__(self) -> None:
        self.queue_lock = threading.Lock()
        self.stages = 1
        self.step_s = STEP_S
        self.steps_done = 0
        self.interrupted = False
        self.unfinished: Image.Image | None = None
        self.previews = 0
        self.began = threading.Event()
        self.marked: list[Any] = []
        self._status: dict[str, Any] = {"task": "", "id": "", "step": 0, "steps": 0}

    def model(self) -> tuple[str, str, str] | None:
        return "sd", "StableDiffusionPipeline", "tiny-sd"

    def is_loading(self) -> bool:
        return False

    def has_checkpoint(self) -> bool:
        return True

    def sampler(self, name: str) -> str | None:
        return name

    def status(self) -> dict[str, Any]:
        return self._status

    def interrupt(self) -> None:
        self.interrupted = True

    def is_interrupted(self) -> bool:
        return self.interrupted

    def preview(self) -> Any:
        self.previews += 1
        return self.unfinished

    def make_pictures(self, fields: Mapping[str, Any], mark: Callable[[Any], None]) -> Any:
        p = SimpleNamespace()
        mark(p)
        self.marked.append(p)
        for stage in range(self.stages):
            self.interrupted = False
            for step in range(fields["steps"]):
                self._status = {
                    "task": "Inference",
                    "id": f"stage{stage}",
                    "step": step,
                    "steps": fields["steps"],
                }
                self.steps_done += 1
                self.began.set()
                time.sleep(self.step_s)
                if self.interrupted:
                    return _processed(fields, 1)  # the unfinished picture, unmarked
        return _processed(fields, fields["batch_size"] * fields["n_iter"])


def _processed(fields: Mapping[str, Any], images: int) -> Any:
    return SimpleNamespace(
        images=[Image.new("RGB", (64, 64)) for _ in range(images)],
        infotexts=["a cat"] * images,
        all_seeds=[fields["seed"] + i for i in range(images)],
        index_of_first_image=0,
        info="a cat",
        sampler_name="Euler",
        steps=fields["steps"],
    )


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture
def backend(host: FakeHost, tmp_path: Path) -> InProcessBackend:
    names = LoraNames(dict, lambda: tmp_path, lambda: None)
    return InProcessBackend(host, names, logging.getLogger("test-generation"))


def two_tone() -> Image.Image:
    image = Image.new("RGB", (1024, 512), (200, 10, 10))
    image.paste((10, 10, 200), (0, 0, 512, 512))
    return image


class TestGenerate:
    def test_a_picture(self, backend: InProcessBackend, host: FakeHost) -> None:
        host.step_s = 0.0
        result = backend.generate(REQUEST, lambda progress: None, lambda: False)
        assert [image.seed for image in result.images] == [7]
        assert result.info == {"model": "tiny-sd", "sampler": "Euler", "steps": 30}
        assert getattr(host.marked[0], FINAL_PROMPT)
        assert not host.queue_lock.locked()

    def test_interrupted_by_somebody_else(self, backend: InProcessBackend, host: FakeHost) -> None:
        threading.Timer(0.3, host.interrupt).start()
        with pytest.raises(GenerationFailed, match="interrupted"):
            backend.generate(REQUEST, lambda progress: None, lambda: False)


class TestCancel:
    def test_stops_within_two_steps(self, backend: InProcessBackend, host: FakeHost) -> None:
        cancelled = threading.Event()
        steps_then: list[int] = []

        def _cancel() -> None:
            assert host.began.wait(5)
            time.sleep(0.35)
            steps_then.append(host.steps_done)
            cancelled.set()

        threading.Thread(target=_cancel).start()
        with pytest.raises(GenerationCancelled):
            backend.generate(REQUEST, lambda progress: None, cancelled.is_set)
        assert host.steps_done - steps_then[0] <= 2
        assert not host.queue_lock.locked()

    def test_a_stage_that_forgets_it(self, backend: InProcessBackend, host: FakeHost) -> None:
        """Cancelled before the job begins: its first stage clears the interrupt."""
        cancelled = threading.Event()
        made = host.make_pictures

        def _later(fields: Mapping[str, Any], mark: Callable[[Any], None]) -> Any:
            cancelled.set()
            time.sleep(0.2)
            return made(fields, mark)

        host.make_pictures = _later  # type: ignore[method-assign]
        with pytest.raises(GenerationCancelled):
            backend.generate(REQUEST, lambda progress: None, cancelled.is_set)
        assert host.steps_done <= 2

    def test_one_that_waits_for_its_turn_never_begins(
        self, backend: InProcessBackend, host: FakeHost
    ) -> None:
        with host.queue_lock:
            cancelled = threading.Event()
            threading.Timer(0.2, cancelled.set).start()
            with pytest.raises(GenerationCancelled):
                backend.generate(REQUEST, lambda progress: None, cancelled.is_set)
        assert host.steps_done == 0


class TestPreviews:
    @staticmethod
    def reports(backend: InProcessBackend, wanted: bool) -> list[StepProgress]:
        told: list[StepProgress] = []
        backend.generate(REQUEST, told.append, lambda: False, lambda: wanted)
        return told

    def test_at_most_one_a_second(self, backend: InProcessBackend, host: FakeHost) -> None:
        host.unfinished = two_tone()
        previews = [p.preview for p in self.reports(backend, True) if p.preview is not None]
        assert 2 <= len(previews) <= 4  # of a job of three seconds
        with Image.open(BytesIO(previews[0])) as image:
            assert (image.format, image.size) == ("JPEG", (512, 256))

    def test_nobody_looks(self, backend: InProcessBackend, host: FakeHost) -> None:
        host.unfinished = two_tone()
        assert all(progress.preview is None for progress in self.reports(backend, False))
        assert host.previews == 0

    def test_a_black_picture_is_none(self, backend: InProcessBackend, host: FakeHost) -> None:
        """It is what the host gives without the weights to decode with."""
        host.unfinished = Image.new("RGB", (512, 512))
        assert all(progress.preview is None for progress in self.reports(backend, True))
        assert host.previews > 0

    def test_one_that_takes_long_holds_up_no_cancel(
        self, backend: InProcessBackend, host: FakeHost
    ) -> None:
        """The host may try to download the weights to decode with."""
        release, cancelled = threading.Event(), threading.Event()

        def _slow() -> Any:
            cancelled.set()
            release.wait(20)

        host.preview = _slow  # type: ignore[method-assign]
        began = time.monotonic()
        with pytest.raises(GenerationCancelled):
            backend.generate(REQUEST, lambda progress: None, cancelled.is_set, lambda: True)
        took_s = time.monotonic() - began
        release.set()
        assert host.steps_done <= 8
        assert took_s < 3
