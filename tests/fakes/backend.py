"""A backend that draws plain pictures at once, or waits until a test lets it go on."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from lora_manager_core.backends.base import (
    BackendStatus,
    GeneratedImage,
    GenerationBackend,
    GenerationCancelled,
    GenerationRequest,
    GenerationResult,
    IsCancelled,
    PreviewsWanted,
    ProgressCallback,
    PromptName,
    StepProgress,
    nobody_looks,
)
from lora_manager_core.backends.infotext import png_bytes
from lora_manager_core.backends.prompt_names import sdnext_prompt_names


class FakeBackend(GenerationBackend):
    """`error` is raised instead of a picture; `gate`, if cleared, holds it after its first step."""

    def __init__(self, name: str = "sdnext", status: BackendStatus | None = None) -> None:
        self.name = name
        self.status = status or BackendStatus(name, True, None, "fake-model", "SD 1.5")
        self.error: Exception | None = None
        self.requests: list[GenerationRequest] = []
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def probe(self) -> BackendStatus:
        return self.status

    def generate(
        self,
        request: GenerationRequest,
        on_progress: ProgressCallback,
        is_cancelled: IsCancelled,
        previews_wanted: PreviewsWanted = nobody_looks,
    ) -> GenerationResult:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        for step in range(1, request.steps + 1):
            if is_cancelled():
                raise GenerationCancelled
            on_progress(StepProgress(step / request.steps, step, request.steps, 0.1))
            self.started.set()
            while not self.gate.wait(0.01):
                if is_cancelled():
                    raise GenerationCancelled
        count = request.batch_size * request.n_iter
        seed = 7 if request.seed < 0 else request.seed
        return GenerationResult(
            tuple(_picture(request, seed + number) for number in range(count)),
            {"model": "fake-model"},
        )

    def prompt_names(self, files: Sequence[Path]) -> Mapping[Path, PromptName]:
        return sdnext_prompt_names(files, None)


def _picture(request: GenerationRequest, seed: int) -> GeneratedImage:
    text = f"{request.prompt}\nSteps: {request.steps}, Seed: {seed}"
    image = Image.new("RGB", (request.width, request.height), (seed % 256, 40, 90))
    return GeneratedImage(png_bytes(image, text), text, seed, request.width, request.height)
