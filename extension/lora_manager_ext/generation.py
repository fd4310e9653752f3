"""Pictures made in this very process, by the host's own code and under its queue lock.

It is what `/sdapi/v1/txt2img` does, without the detour over HTTP. The host's state flickers between
stages, so whether a job runs, and whether it was cancelled, is kept here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

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
    nobody_looks,
)
from lora_manager_core.backends.infotext import png_bytes
from lora_manager_core.backends.previews import Previews, preview_jpeg
from lora_manager_core.backends.sdnext_models import architecture_label
from lora_manager_core.backends.sdnext_progress import InferenceProgress
from lora_manager_core.errors import BackendUnavailable, GenerationFailed, OutOfMemory
from lora_manager_ext.lora_names import LoraNames

#: How often the running job is looked at, in seconds.
_POLL_S = 0.2
#: How often a cancel is looked for, in seconds: it is to stop the picture within a step or two.
_CANCEL_LOOK_S = 0.05
#: The shortest time between two previews, in seconds.
_PREVIEW_INTERVAL_S = 1.0
#: How long a preview in the making may hold up a finished job, in seconds.
_LAST_PREVIEW_S = 1.0
#: Set on our own jobs, whose prompt is final: the hook leaves them alone.
FINAL_PROMPT = "lora_manager_final_prompt"


class HostJobs(Protocol):
    """What of the host is needed to make pictures."""

    @property
    def queue_lock(self) -> threading.Lock: ...
    def model(self) -> tuple[str, str, str] | None: ...
    def is_loading(self) -> bool: ...
    def has_checkpoint(self) -> bool: ...
    def sampler(self, name: str) -> str | None: ...
    def status(self) -> dict[str, Any]: ...
    def interrupt(self) -> None: ...
    def is_interrupted(self) -> bool: ...
    def preview(self) -> Any: ...
    def make_pictures(self, fields: Mapping[str, Any], mark: Callable[[Any], None]) -> Any: ...


class InProcessBackend(GenerationBackend):
    """SD.Next as seen from inside; jobs take their turn with those of its page and its API."""

    name = "sdnext"
    has_registry = True

    def __init__(self, host: HostJobs, names: LoraNames, log: logging.Logger) -> None:
        self._host = host
        self._names = names
        self._log = log

    def probe(self) -> BackendStatus:
        """Whether a model is loaded, or will be by the first job."""
        model = self._host.model()
        if model is not None:
            kind, pipeline, name = model
            label = architecture_label(kind, pipeline, name)
            return BackendStatus(self.name, True, model=name, architecture=label)
        if self._host.is_loading():
            reason = "SD.Next is still starting or loading its model. Try again in a moment."
        elif not self._host.has_checkpoint():
            reason = "SD.Next has no model loaded. Choose a checkpoint at the top of its page."
        else:
            return BackendStatus(self.name, True)
        return BackendStatus(self.name, False, reason)

    def generate(
        self,
        request: GenerationRequest,
        on_progress: ProgressCallback,
        is_cancelled: IsCancelled,
        previews_wanted: PreviewsWanted = nobody_looks,
    ) -> GenerationResult:
        """Wait for the queue, make the pictures, give them with the host's own infotext."""
        fields = self._fields(request)
        self._wait_for_turn(is_cancelled)
        try:
            status = self.probe()
            if not status.available:
                raise BackendUnavailable(status.reason or "SD.Next cannot generate now.")
            previews = Previews(previews_wanted, _PREVIEW_INTERVAL_S)
            progress = InferenceProgress(
                request, on_progress, partial(previews.next, self._unfinished)
            )
            watch = _Watch(self._host, progress, is_cancelled)
            with _last_error(self._log) as said, watch.running():
                try:
                    processed = self._host.make_pictures(fields, _mark)
                except Exception as error:  # noqa: BLE001 - whatever the host's pipeline raises
                    said.append(f"{type(error).__name__}: {error}")
                    self._log.exception("LoRA Manager: generation failed")
                    processed = None
            model = self._host.model()
        finally:
            self._host.queue_lock.release()
        if watch.cancelled or is_cancelled():
            raise GenerationCancelled
        return self._result(request, processed, watch.interrupted, said, model)

    def prompt_names(self, files: Sequence[Path]) -> Mapping[Path, PromptName]:
        """What the host's registry resolves to these files."""
        return self._names.resolve(files)

    def _fields(self, request: GenerationRequest) -> dict[str, Any]:
        sampler = self._host.sampler(request.sampler_name)
        if sampler is None:
            raise GenerationFailed(
                f"SD.Next does not know the sampler “{request.sampler_name}”. Choose one that its "
                "own list names, or Default."
            )
        fields: dict[str, Any] = {
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "steps": request.steps,
            "sampler_name": sampler,
            "cfg_scale": request.cfg_scale,
            "width": request.width,
            "height": request.height,
            "seed": request.seed,
            "batch_size": request.batch_size,
            "n_iter": request.n_iter,
        }
        if request.denoising_strength is not None:
            fields["denoising_strength"] = request.denoising_strength
        return fields

    def _wait_for_turn(self, is_cancelled: IsCancelled) -> None:
        while not self._host.queue_lock.acquire(timeout=_CANCEL_LOOK_S):
            if is_cancelled():
                raise GenerationCancelled
        if is_cancelled():
            self._host.queue_lock.release()
            raise GenerationCancelled

    def _unfinished(self) -> bytes | None:
        image = self._host.preview()
        if image is None:
            return None
        darkest, brightest = image.convert("L").getextrema()
        # without the weights to decode with, the host gives a black picture
        return preview_jpeg(image) if darkest != brightest else None

    def _result(
        self,
        request: GenerationRequest,
        processed: Any,
        interrupted: bool,
        said: Sequence[str],
        model: tuple[str, str, str] | None,
    ) -> GenerationResult:
        first = getattr(processed, "index_of_first_image", 0)
        pictures = list(getattr(processed, "images", None) or [])[first:]
        if interrupted or not pictures:
            raise _why_nothing(processed, interrupted, said)
        infotexts = list(processed.infotexts or [])[first:]
        seeds = list(processed.all_seeds or [])
        images = []
        for number, picture in enumerate(pictures):
            text = infotexts[number] if number < len(infotexts) else str(processed.info)
            seed = int(seeds[number]) if number < len(seeds) else request.seed
            width, height = picture.size
            images.append(GeneratedImage(png_bytes(picture, text), text, seed, width, height))
        wanted = request.batch_size * request.n_iter
        warnings = () if len(images) >= wanted else (f"Only {len(images)} of {wanted} came out.",)
        info = {
            "model": model[2] if model else None,
            "sampler": str(processed.sampler_name),
            "steps": int(processed.steps),
        }
        return GenerationResult(tuple(images), info, warnings)


def _mark(p: Any) -> None:
    setattr(p, FINAL_PROMPT, True)


def _why_nothing(processed: Any, interrupted: bool, said: Sequence[str]) -> Exception:
    error = said[-1] if said else ""
    lower = error.lower()
    if "out of memory" in lower or "outofmemory" in lower or "not enough memory" in lower:
        return OutOfMemory(
            "SD.Next ran out of memory. Make the picture smaller, or lower the batch size and "
            "raise the batch count instead."
        )
    if interrupted and not error:
        return GenerationFailed("Somebody interrupted the picture in SD.Next; order it again.")
    if error:
        return GenerationFailed(f"SD.Next could not make the picture: {error[:500]}")
    if processed is None:
        return BackendUnavailable(
            "SD.Next has no model loaded. Choose a checkpoint at the top of its page."
        )
    return GenerationFailed("SD.Next finished without a picture; its log says why.")


class _Watch:
    """Looks at the running job from threads of its own: progress out, cancellation in.

    Two threads, because a preview may take its time and a cancel may not.
    """

    def __init__(
        self, host: HostJobs, progress: InferenceProgress, is_cancelled: IsCancelled
    ) -> None:
        self._host = host
        self._progress = progress
        self._is_cancelled = is_cancelled
        self._done = threading.Event()
        self.cancelled = False
        self.interrupted = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch as long as the block runs."""
        stopper = threading.Thread(target=self._stop, name="lora-manager-stop", daemon=True)
        teller = threading.Thread(target=self._tell, name="lora-manager-progress", daemon=True)
        stopper.start()
        teller.start()
        try:
            yield
            self.interrupted |= self._host.is_interrupted()
        finally:
            self._done.set()
            stopper.join()
            teller.join(_LAST_PREVIEW_S)

    def _stop(self) -> None:
        while not self._done.wait(_CANCEL_LOOK_S):
            if self.cancelled or self._is_cancelled():
                self.cancelled = True
                self._host.interrupt()  # again and again: each new stage forgets it
            else:
                self.interrupted |= self._host.is_interrupted()

    def _tell(self) -> None:
        while not self._done.wait(_POLL_S):
            self._progress.read(self._host.status())


@contextmanager
def _last_error(log: logging.Logger) -> Iterator[list[str]]:
    """The errors the host logs from this thread: it catches a pipeline's failures itself."""
    said: list[str] = []
    own_thread = threading.get_ident()

    class _Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == own_thread and record.module.startswith("processing"):
                said.append(record.getMessage())

    listener = _Listener(logging.ERROR)
    log.addHandler(listener)
    try:
        yield said
    finally:
        log.removeHandler(listener)
