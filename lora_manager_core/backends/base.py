"""What a generation backend is: probe, generate with progress, cancel, and the names it resolves.

Implementations: `diffusers_local` (embedded pipeline), `sdnext_http` (a remote SD.Next), and the
extension's in-process one. Storing pictures and queueing are `generation`'s work, not a backend's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One picture order; the prompt carries `<lora:…>` tokens whose names the backend resolves."""

    prompt: str
    negative_prompt: str = ""
    steps: int = 20
    sampler_name: str = "DPM++ 2M"
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    seed: int = -1
    batch_size: int = 1
    n_iter: int = 1
    denoising_strength: float | None = None


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One finished picture: PNG bytes with the infotext inside as the `parameters` text chunk."""

    png: bytes
    infotext: str
    seed: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class GenerationResult:
    """All pictures of one request; `info` is the backend's own account, JSON-serialisable."""

    images: tuple[GeneratedImage, ...]
    info: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Where a running picture stands. `fraction` is 0..1 over the whole request.

    `preview` is the unfinished picture as an encoded image file (JPEG, PNG or WebP).
    """

    fraction: float
    step: int
    steps: int
    eta_s: float | None = None
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """The outcome of a real probe; `reason` says what to do when it is not available.

    `model` is the loaded checkpoint or pipeline, `architecture` its base-model label as
    `library.base_model` names them (None when the backend does not tell).
    """

    name: str
    available: bool
    reason: str | None = None
    model: str | None = None
    architecture: str | None = None


@dataclass(frozen=True, slots=True)
class PromptName:
    """What resolves to one file in a prompt: `name`, or None and the `problem` in words."""

    name: str | None
    problem: str | None = None


ProgressCallback = Callable[[StepProgress], None]
IsCancelled = Callable[[], bool]
#: Whether somebody looks at unfinished pictures just now: making one costs time.
PreviewsWanted = Callable[[], bool]


def nobody_looks() -> bool:
    """No preview is wanted."""
    return False


class GenerationCancelled(Exception):
    """Raised by `generate` when `is_cancelled` turned true; no picture comes of it."""


class GenerationBackend(ABC):
    """A place where pictures are made. Calls are synchronous and come from worker threads."""

    #: The name callers choose it by (`backend=` of the API).
    name: str
    #: Whether `prompt_names` asks a live registry, and so is right for a few files alone. Else it
    #: applies a rule to all files of a library, and what the last scan stored is used.
    has_registry = False

    @abstractmethod
    def probe(self) -> BackendStatus:
        """Ask the backend itself whether it can generate now; never raises."""

    @abstractmethod
    def generate(
        self,
        request: GenerationRequest,
        on_progress: ProgressCallback,
        is_cancelled: IsCancelled,
        previews_wanted: PreviewsWanted = nobody_looks,
    ) -> GenerationResult:
        """Make the pictures, in full or not at all.

        Raises:
            GenerationCancelled: `is_cancelled()` turned true; checked between sampling steps.
            BackendUnavailable, BackendLoginRefused, ExtraNotInstalled: it cannot generate now.
            OutOfMemory: the device ran out of memory.
            GenerationFailed: it tried and failed; the message says why.
        """

    @abstractmethod
    def prompt_names(self, files: Sequence[Path]) -> Mapping[Path, PromptName]:
        """For each model file, the token name that resolves to that very file in this backend."""

    def close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Give back memory and connections; the backend may be used again afterwards."""
