"""The diffusers pipeline of the embedded backend: found, loaded on first use, held, given back."""

from __future__ import annotations

import gc
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lora_manager_core.backends.embedded_extra import (
    INSTALL_ADVICE,
    embedded_extra,
    hide_progress_bars,
    missing_libraries,
)
from lora_manager_core.errors import BackendUnavailable, ExtraNotInstalled, OutOfMemory

logger = logging.getLogger(__name__)

LoadPipeline = Callable[[Path, str | None], Any]
NO_MODEL = "No model is chosen. Give a diffusers model folder as DIFFUSERS_MODEL, or with --model."
_INDEX = "model_index.json"
#: What diffusers raises for a folder it cannot make a pipeline of (OSError: a file is missing).
_LOAD_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ImportError,
    RuntimeError,
)
#: Start of `_class_name` in model_index.json → base model as `common.base_labels` names it.
_ARCHITECTURES = (
    ("StableDiffusionXL", "SDXL"),
    ("StableDiffusion3", "SD 3"),
    ("StableDiffusion", "SD 1.5"),
    ("Flux2", "Flux.2"),
    ("Flux", "Flux.1"),
    ("Chroma", "Chroma"),
    ("QwenImage", "Qwen-Image"),
    ("ZImage", "Z-Image"),
    ("Lumina2", "Lumina 2"),
    ("Wan", "Wan"),
    ("HunyuanVideo", "Hunyuan Video"),
    ("HunyuanImage", "Hunyuan Image"),
    ("HiDream", "HiDream"),
    ("LTX", "LTX"),
    ("AuraFlow", "AuraFlow"),
    ("PixArt", "PixArt"),
    ("Kolors", "Kolors"),
)
_SD2_TEXT_WIDTH = 1024  # OpenCLIP ViT-H; CLIP-L of SD 1.5 has 768


class HeldPipeline:
    """One pipeline of one folder: loads on first use, remembers a failed try, can be unloaded.

    A failed try is remembered until `model_index.json` or a folder of a component changes, so that
    not every request spends half a minute on finding out the same again.
    """

    def __init__(
        self, folder: Path | None, device: str | None = None, load: LoadPipeline | None = None
    ) -> None:
        """`device`: a torch device name, None for the best there is; `load` is for tests."""
        self._folder = folder
        self._device = device
        self._load = load or load_pipeline
        self._lock = threading.Lock()
        self._pipeline: Any = None
        self._failure: tuple[float, str] | None = None

    @property
    def loaded(self) -> bool:
        """Whether the pipeline is in memory."""
        return self._pipeline is not None

    @property
    def folder(self) -> Path | None:
        """The model folder, None where none is configured."""
        return self._folder

    def problem(self) -> str | None:
        """Why it cannot be used now, and what to do; None if nothing is known against it. Cheap."""
        if self._folder is None:
            return NO_MODEL
        stamp = _stamp(self._folder)
        if stamp is None:
            return (
                f"{self._folder} has no {_INDEX}, so it is not a diffusers model folder. "
                "Point DIFFUSERS_MODEL or --model at the folder that holds this file."
            )
        missing = missing_libraries()
        if missing:
            return f"{', '.join(missing)} not installed. {INSTALL_ADVICE}"
        if self._failure is not None and self._failure[0] == stamp:
            return self._failure[1]
        return None

    def architecture(self) -> str | None:
        """The base model by the folder's own account (`_class_name`), None if it does not tell."""
        return architecture(self._folder) if self._folder is not None else None

    def get(self) -> Any:
        """The pipeline, loaded now if it is not yet.

        Raises:
            BackendUnavailable: no folder, no model in it, or it does not load; says why.
            OutOfMemory: it does not fit into the device's memory.
            ExtraNotInstalled: a library is missing.
        """
        with self._lock:
            if self._pipeline is not None:
                return self._pipeline
            problem = self.problem()
            if problem is not None:
                raise (ExtraNotInstalled if INSTALL_ADVICE in problem else BackendUnavailable)(
                    problem
                )
            folder = self._folder
            assert folder is not None
            stamp = _stamp(folder) or 0.0
            try:
                self._pipeline = self._load(folder, self._device)
            except _LOAD_ERRORS as error:
                if is_out_of_memory(error):  # may pass next time: not remembered
                    free_memory()
                    raise OutOfMemory(
                        f"The device has too little memory to load {folder.name}. Close other "
                        "programs that use it, or choose a smaller model."
                    ) from error
                logger.exception("The model in %s does not load", folder)
                lines = str(error).strip().splitlines() or [""]
                reason = f"The model in {folder} does not load: {type(error).__name__}: {lines[0]}"
                self._failure = (stamp, reason)
                free_memory()
                raise BackendUnavailable(reason) from error
            self._failure = None
            return self._pipeline

    def unload(self) -> None:
        """Drop the pipeline and give its memory back; the next `get` loads it again."""
        with self._lock:
            was_loaded, self._pipeline = self.loaded, None
        if was_loaded:
            free_memory()


def architecture(folder: Path) -> str | None:
    """The base model label of a diffusers folder, by its class name and text encoder width."""
    name = str(_json(folder / _INDEX).get("_class_name", ""))
    label = next((label for start, label in _ARCHITECTURES if name.startswith(start)), None)
    if label == "SD 1.5":
        width = _json(folder / "text_encoder" / "config.json").get("hidden_size")
        return "SD 2.x" if width == _SD2_TEXT_WIDTH else label
    return label


def load_pipeline(folder: Path, device: str | None) -> Any:
    """Load the pipeline of `folder` onto `device`, offline and without a safety checker.

    Only `.safetensors` weights are read: other formats can run code. float32 on the CPU; on an
    accelerator float16 for UNets, bfloat16 for transformers (whose activations overflow float16).
    """
    with embedded_extra():
        import torch
        from diffusers import DiffusionPipeline
    index = _json(folder / _INDEX)
    device = device or best_device()
    dtype = torch.float32
    if not device.startswith("cpu"):
        dtype = torch.bfloat16 if "transformer" in index else torch.float16
    options: dict[str, Any] = {}
    if "safety_checker" in index:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    if _only_fp16(folder):
        options["variant"] = "fp16"
    hide_progress_bars()
    pipeline = DiffusionPipeline.from_pretrained(
        str(folder), torch_dtype=dtype, local_files_only=True, use_safetensors=True, **options
    )
    pipeline = pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def best_device() -> str:
    """`cuda`, `mps`, `xpu`, … as torch finds it, else `cpu`."""
    with embedded_extra():
        import torch
    accelerator = getattr(torch, "accelerator", None)
    if accelerator is not None:
        return accelerator.current_accelerator().type if accelerator.is_available() else "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def free_memory() -> None:
    """Collect garbage and hand the accelerator's cached memory back to the system."""
    gc.collect()
    with embedded_extra():
        import torch
    device = best_device()
    empty_cache = getattr(getattr(torch, device, None), "empty_cache", None)
    if device != "cpu" and empty_cache is not None:
        empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch.OutOfMemoryError, and the plain RuntimeError of CPU and MPS."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "not enough memory" in text
    )


def _only_fp16(folder: Path) -> bool:
    weights = {
        file.name
        for name in ("unet", "transformer")
        for file in (folder / name).glob("*.safetensors")
    }
    return bool(weights) and all(".fp16." in name for name in weights)


def _stamp(folder: Path) -> float | None:
    """The newest change of the index or a component's folder, None without an index."""
    try:
        components = [entry for entry in folder.iterdir() if entry.is_dir()]
        return max(entry.stat().st_mtime for entry in (folder / _INDEX, *components))
    except OSError:
        return None


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
