"""The embedded backend: pictures from a local diffusers pipeline, LoRAs from the prompt's tokens.

The pipeline itself is `diffusers_model`'s, files and strengths are `diffusers_lora`'s; here is what
a request means. Prompts are plain: emphasis like `(word:1.2)` is not interpreted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

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
from lora_manager_core.backends.diffusers_lora import applied
from lora_manager_core.backends.diffusers_model import (
    HeldPipeline,
    free_memory,
    is_out_of_memory,
)
from lora_manager_core.backends.diffusers_request import (
    SEEDS,
    fitting,
    prompt_options,
    too_long,
)
from lora_manager_core.backends.diffusers_samplers import choose_scheduler
from lora_manager_core.backends.embedded_extra import embedded_extra
from lora_manager_core.backends.infotext import infotext, png_bytes
from lora_manager_core.backends.lora_wanted import ResolveFile, wanted_loras
from lora_manager_core.backends.previews import Previews
from lora_manager_core.backends.prompt_names import sdnext_prompt_names
from lora_manager_core.errors import GenerationFailed, OutOfMemory

#: The shortest time between two previews.
_PREVIEW_INTERVAL_S = 0.5
#: What a pipeline raises for input it cannot work with; anything else is a defect of ours.
_PIPELINE_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError)


class DiffusersBackend(GenerationBackend):
    """One local pipeline, one picture order at a time; others wait for it."""

    name = "diffusers"

    def __init__(
        self,
        model_dir: Path | None,
        names: ResolveFile,
        device: str | None = None,
        pipeline: HeldPipeline | None = None,
    ) -> None:
        """`names` maps the NAME of a token to its file, None where there is no such LoRA.

        `device` is a torch device name (None: the best there is); `pipeline` is for tests.
        """
        self._resolve = names
        self._pipeline = pipeline or HeldPipeline(model_dir, device)
        self._one_at_a_time = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the pipeline is in memory."""
        return self._pipeline.loaded

    def probe(self) -> BackendStatus:
        """Look at the folder and the installed libraries; loads nothing."""
        problem = self._pipeline.problem()
        folder = self._pipeline.folder
        return BackendStatus(
            name=self.name,
            available=problem is None,
            reason=problem,
            model=folder.name if folder is not None else None,
            architecture=self._pipeline.architecture(),
        )

    def generate(
        self,
        request: GenerationRequest,
        on_progress: ProgressCallback,
        is_cancelled: IsCancelled,
        previews_wanted: PreviewsWanted = nobody_looks,
    ) -> GenerationResult:
        """Make the pictures; LoRAs are applied for this request only.

        Picture i has the seed `seed + i` and noise of its own, so it can be made again alone.
        """
        warnings: list[str] = []
        request = fitting(request, warnings)
        previews = Previews(previews_wanted, _PREVIEW_INTERVAL_S)
        steps = _Steps(request.n_iter, on_progress, is_cancelled, previews)
        with self._one_at_a_time:
            _stop_if(is_cancelled)
            pipeline = self._pipeline.get()
            try:
                with _inference_mode():
                    images = self._run(pipeline, request, steps, warnings)
            except _PIPELINE_ERRORS as error:
                raise self._explained(error, request) from error
        info = {
            "model": self._model_name(),
            "pipeline": type(pipeline).__name__,
            "all_seeds": [image.seed for image in images],
            "infotexts": [image.infotext for image in images],
        }
        return GenerationResult(images=images, info=info, warnings=tuple(warnings))

    def prompt_names(self, files: Sequence[Path]) -> Mapping[Path, PromptName]:
        """SD.Next's naming rule: a prompt written here means the same files there."""
        return sdnext_prompt_names(files, None)

    def close(self) -> None:
        """Unload the pipeline, after the picture in the making if there is one."""
        with self._one_at_a_time:
            self._pipeline.unload()

    def _run(
        self,
        pipeline: Any,
        request: GenerationRequest,
        steps: _Steps,
        warnings: list[str],
    ) -> tuple[GeneratedImage, ...]:
        wanted, remarks = wanted_loras(request.prompt, self._resolve)
        warnings.extend(remarks)
        warnings.extend(too_long(pipeline, request))
        own_scheduler = pipeline.scheduler
        images: list[GeneratedImage] = []
        try:
            with applied(pipeline, wanted) as (loras, refused):
                warnings.extend(refused)
                names = [lora.name for lora in loras]
                for iteration in range(request.n_iter):
                    _stop_if(steps.is_cancelled)
                    # a scheduler keeps state between steps: each batch starts with a fresh one
                    pipeline.scheduler, remark = choose_scheduler(
                        request.sampler_name, own_scheduler
                    )
                    if remark is not None:
                        warnings.append(remark)
                        request = replace(request, sampler_name="Default")
                    images += self._one_batch(pipeline, request, iteration, names, steps)
        finally:
            pipeline.scheduler = own_scheduler
        return tuple(images)

    def _one_batch(
        self,
        pipeline: Any,
        request: GenerationRequest,
        iteration: int,
        loras: Sequence[str],
        steps: _Steps,
    ) -> list[GeneratedImage]:
        import torch

        first = iteration * request.batch_size
        indices = range(first, first + request.batch_size)
        seeds = [(request.seed + index) % SEEDS for index in indices]
        steps.start(iteration)
        output = pipeline(
            **prompt_options(pipeline, request),
            num_inference_steps=request.steps,
            width=request.width,
            height=request.height,
            # on the CPU, so that a seed gives the same noise on every device
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            callback_on_step_end=steps.after_step,
        )
        images = []
        for index, seed, picture in zip(indices, seeds, output.images, strict=True):
            text = infotext(
                request,
                seed=seed,
                width=picture.width,
                height=picture.height,
                model=self._model_name(),
                pipeline=type(pipeline).__name__,
                scheduler=type(pipeline.scheduler).__name__,
                loras=loras,
                index=index,
            )
            png = png_bytes(picture, text)
            images.append(GeneratedImage(png, text, seed, picture.width, picture.height))
        return images

    def _explained(self, error: Exception, request: GenerationRequest) -> Exception:
        """What the caller is told for an error out of the pipeline; memory is given back."""
        if is_out_of_memory(error):
            # its traceback holds every tensor of the failed step
            error.__traceback__ = None
            free_memory()
            return OutOfMemory(
                f"The device ran out of memory at {request.width}x{request.height} with "
                f"{request.batch_size} at once. Make the picture smaller, or lower the batch size "
                "and raise the batch count instead."
            )
        lines = str(error).strip().splitlines() or [""]
        return GenerationFailed(f"The pipeline failed: {type(error).__name__}: {lines[0]}")

    def _model_name(self) -> str | None:
        folder = self._pipeline.folder
        return folder.name if folder is not None else None


@dataclass(slots=True)
class _Steps:
    """Progress over all batches of a request, and the place where a cancel is noticed."""

    batches: int
    on_progress: ProgressCallback
    is_cancelled: IsCancelled
    previews: Previews
    batch: int = 0
    durations_s: list[float] = field(default_factory=list)
    step: int = 0
    since: float = 0.0

    def start(self, batch: int) -> None:
        self.batch, self.step, self.since = batch, 0, time.monotonic()

    def after_step(
        self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """`callback_on_step_end` of diffusers pipelines."""
        del step, timestep  # samplers of higher order call it several times a step
        _stop_if(self.is_cancelled)
        now = time.monotonic()
        self.durations_s.append(now - self.since)
        self.since, self.step = now, self.step + 1
        steps = max(int(getattr(pipeline, "num_timesteps", 0)), self.step)
        left = steps - self.step + (self.batches - self.batch - 1) * steps
        eta_s = left * sum(self.durations_s) / len(self.durations_s)
        fraction = (self.batch + self.step / steps) / self.batches
        preview = self.previews.next(partial(_preview, pipeline, tensors))
        self.on_progress(StepProgress(min(fraction, 1.0), self.step, steps, eta_s, preview))
        _stop_if(self.is_cancelled)
        return {}


def _preview(pipeline: Any, tensors: Mapping[str, Any]) -> bytes | None:
    # here, because of numpy
    from lora_manager_core.backends.diffusers_preview import latent_preview

    latents = tensors.get("latents")
    return None if latents is None else latent_preview(pipeline, latents)


def _inference_mode() -> Any:
    with embedded_extra():
        import torch
    return torch.inference_mode()


def _stop_if(is_cancelled: Callable[[], bool]) -> None:
    if is_cancelled():
        raise GenerationCancelled
