"""LoRA files in a diffusers pipeline: read, checked, applied for one request, and taken out again.

diffusers' own conversion of kohya files ends in an IndexError for their text-encoder part since
transformers 5 dropped the `text_model` level of `CLIPTextModel`: no layer matched, and the rank was
read from an empty list. So names are resolved here against the layers the pipeline really has, and
diffusers is handed PEFT keys only. A file is applied whole or not at all.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, filterwarnings

from lora_manager_core.backends.diffusers_model import is_out_of_memory
from lora_manager_core.backends.embedded_extra import embedded_extra
from lora_manager_core.backends.lora_layer_names import LayerNames, other_kind
from lora_manager_core.backends.lora_wanted import WantedLora

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

#: What diffusers and peft raise for a file they cannot take.
_REFUSALS = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
)
_LAYER_KINDS = ("Linear", "Conv2d", "LoRACompatibleLinear", "LoRACompatibleConv")
_DENOISERS = ("unet", "transformer")


class LoraRefused(Exception):
    """This file cannot be applied to this pipeline; the message is the reason."""


@contextmanager
def applied(
    pipeline: Any, wanted: Sequence[WantedLora]
) -> Iterator[tuple[list[WantedLora], list[str]]]:
    """Within it the LoRAs of `wanted` are in `pipeline`; after it, whatever happened, none is.

    Yields those that are applied, and one sentence for each file that could not be. The pipeline's
    own weights are never changed: peft wraps the layers, and the wrapping is taken off.
    """
    warnings: list[str] = []
    if wanted and not hasattr(pipeline, "load_lora_weights"):
        reason = f"{type(pipeline).__name__} takes no LoRAs in diffusers"
        yield [], [_not_applied(lora, reason) for lora in wanted]
        return
    try:
        names = layer_names(pipeline) if wanted else None
        ready: list[tuple[WantedLora, dict[str, torch.Tensor]]] = []
        for lora in wanted:
            try:
                assert names is not None
                ready.append((lora, peft_tensors(lora.file, pipeline, names)))
            except LoraRefused as refusal:
                warnings.append(_not_applied(lora, str(refusal)))
        yield _load_all(pipeline, ready, warnings), warnings
    finally:
        if wanted:
            pipeline.unload_lora_weights()


def _load_all(
    pipeline: Any, ready: list[tuple[WantedLora, dict[str, torch.Tensor]]], warnings: list[str]
) -> list[WantedLora]:
    """Load all that `ready` holds; after a failure start over without the file that failed.

    A failed load may leave a name registered or a component half wrapped, hence the fresh start.
    """
    while ready:
        for number, (lora, tensors) in enumerate(ready):
            try:
                with catch_warnings():
                    # peft says so of every second LoRA; several at once are what is wanted.
                    filterwarnings("ignore", message="Already found a `peft_config`")
                    pipeline.load_lora_weights(tensors, adapter_name=_adapter_name(number))
            except _REFUSALS as error:
                if is_out_of_memory(error):
                    raise
                logger.warning("diffusers refused %s", lora.file, exc_info=True)
                reason = f"diffusers refused it ({type(error).__name__}: {_first_line(error)})"
                break
        else:
            _set_strengths(pipeline, ready)
            return [lora for lora, _ in ready]
        pipeline.unload_lora_weights()
        warnings.append(_not_applied(lora, reason))
        del ready[number]
    return []


def _set_strengths(
    pipeline: Any, ready: Sequence[tuple[WantedLora, Mapping[str, torch.Tensor]]]
) -> None:
    adapters = [_adapter_name(number) for number in range(len(ready))]
    strengths = []
    for lora, tensors in ready:
        components = {key.partition(".")[0] for key in tensors}
        strengths.append(
            {name: lora.down if name in _DENOISERS else lora.text_encoder for name in components}
        )
    pipeline.set_adapters(adapters, strengths)
    for adapter, (lora, _) in zip(adapters, ready, strict=True):
        if lora.uniform:
            continue
        # diffusers' own per-block strengths leave out the convolutions
        for name, module in getattr(pipeline, denoiser_of(pipeline)).named_modules():
            if hasattr(module, "lora_A") and adapter in module.lora_A:
                module.set_scale(adapter, _block_strength(lora, name))


def _block_strength(lora: WantedLora, layer: str) -> float:
    if "mid_block" in layer:
        return lora.mid
    return lora.up if "up_blocks" in layer else lora.down


def denoiser_of(pipeline: Any) -> str:
    """The component that paints: `unet` or `transformer`."""
    return next(name for name in _DENOISERS if getattr(pipeline, name, None) is not None)


def layer_names(pipeline: Any) -> LayerNames:
    """The layers of `pipeline` that a LoRA can sit on: linear and convolution layers."""
    layers = {
        component: [name for name, module in model.named_modules() if _has_weight(module)]
        for component in pipeline._lora_loadable_modules
        if (model := getattr(pipeline, component, None)) is not None
    }
    return LayerNames(layers, denoiser_of(pipeline))


def _has_weight(module: Any) -> bool:
    return type(module).__name__ in (
        "Linear",
        "Conv2d",
        "LoRACompatibleLinear",
        "LoRACompatibleConv",
    )


def peft_tensors(file: Path, pipeline: Any, names: LayerNames) -> dict[str, torch.Tensor]:
    """The file as `component.layer.lora_A|B.weight`, float32, its alpha folded into `lora_B`.

    Raises:
        LoraRefused: unreadable, not a LoRA, values that are no numbers, or made for another model.
    """
    tensors, metadata = _read(file)
    kind = other_kind(tensors)
    if kind is not None:
        raise LoraRefused(f"it is {kind}, which diffusers cannot apply; use SD.Next for this file")
    layers, unknown = _by_layer(tensors, names)
    if unknown and denoiser_of(pipeline) != "unet":
        layers, unknown = _by_layer(_converted_by_diffusers(pipeline, tensors), names)
    if unknown or not layers:
        raise LoraRefused(_made_for_something_else(unknown, len(layers)))
    result: dict[str, torch.Tensor] = {}
    for (component, layer), parts in layers.items():
        weight = getattr(pipeline, component).get_submodule(layer).weight
        down, up = _pair(layer, parts, tuple(weight.shape))
        scale = _scale(component, layer, parts, down.shape[0], metadata)
        result[f"{component}.{layer}.lora_A.weight"] = down
        result[f"{component}.{layer}.lora_B.weight"] = up * scale
    return result


def _read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Every tensor as float32 on the CPU, and the header's `__metadata__`."""
    if file.suffix.lower() != ".safetensors":
        raise LoraRefused(
            f"{file.suffix or 'such'} files can run code when they are opened, so they are never "
            "loaded; convert it to .safetensors"
        )
    with embedded_extra():
        import torch
        from safetensors import SafetensorError, safe_open
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            metadata = dict(opened.metadata() or {})
            # a copy: the memory-mapped file would stay open, and on Windows undeletable
            tensors = {
                key: opened.get_tensor(key).to(torch.float32, copy=True)
                for key in opened.keys()  # noqa: SIM118
            }
    except (OSError, SafetensorError, ValueError) as error:
        raise LoraRefused(f"it cannot be read ({_first_line(error)})") from error
    broken = next((key for key, value in tensors.items() if not value.isfinite().all()), None)
    if broken is not None:
        raise LoraRefused(f"it holds values that are no numbers (NaN or infinite, in {broken})")
    return tensors, metadata


_Layers = dict[tuple[str, str], dict[str, Any]]


def _by_layer(tensors: Mapping[str, torch.Tensor], names: LayerNames) -> tuple[_Layers, list[str]]:
    layers: _Layers = {}
    unknown: list[str] = []
    for key, value in tensors.items():
        found = names.find(key)
        if found is None:
            unknown.append(key)
        else:
            layers.setdefault((found.component, found.layer), {})[found.part] = value
    return layers, unknown


def _converted_by_diffusers(
    pipeline: Any, tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Files whose layers are cut differently (Flux in kohya's or Black Forest Labs' names)."""
    encoders = {key: value for key, value in tensors.items() if key.startswith("lora_te")}
    rest = {key: value for key, value in tensors.items() if key not in encoders}
    try:
        return {**dict(pipeline.lora_state_dict(rest)), **encoders}
    except _REFUSALS as error:
        raise LoraRefused(f"diffusers does not know its layers ({_first_line(error)})") from error


def _pair(layer: str, parts: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """`lora_A` (rank, in, *kernel) and `lora_B` (out, rank, 1…) for a weight of `shape`."""
    down, up = parts.get("down"), parts.get("up")
    if down is None or up is None:
        raise LoraRefused(f"layer {layer} is incomplete: the file may be cut off")
    if "mid" in parts:  # Tucker form (LyCORIS `use_cp`): a kernel between two 1x1 convolutions
        down = parts["mid"].flatten(2).permute(2, 0, 1) @ down.flatten(1)
        down = down.permute(1, 2, 0).unflatten(2, parts["mid"].shape[2:])
    rank = down.shape[0]
    down_shape, up_shape = (rank, *shape[1:]), (shape[0], rank, *(1 for _ in shape[2:]))
    for tensor, expected in ((down, down_shape), (up, up_shape)):
        if tensor.numel() != math.prod(expected) or tensor.shape[0] != expected[0]:
            raise LoraRefused(
                f"it was made for another model: layer {layer} is {_shape(shape)} in this one, "
                f"and the file has {_shape(down.shape)} and {_shape(up.shape)}"
            )
    return down.reshape(down_shape).contiguous(), up.reshape(up_shape).contiguous()


def _scale(
    component: str, layer: str, parts: Mapping[str, Any], rank: int, metadata: Mapping[str, str]
) -> float:
    """alpha/rank; alpha is a tensor (kohya) or in diffusers' metadata, else the scale is 1."""
    if "alpha" in parts:
        return float(parts["alpha"]) / rank
    try:
        config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        alpha = (config.get(f"{component}.alpha_pattern") or {}).get(layer)
        alpha = float(config.get(f"{component}.lora_alpha", rank) if alpha is None else alpha)
        stabilised = bool(config.get(f"{component}.use_rslora"))
    except (ValueError, TypeError, AttributeError):
        return 1.0
    return alpha / (math.sqrt(rank) if stabilised else rank)


def _made_for_something_else(unknown: Sequence[str], fitting: int) -> str:
    if not unknown:
        return "there is no LoRA layer in it"
    return (
        f"{len(unknown)} of its tensors have no place in this model and {fitting} layers fit, "
        f"so it was made for another kind of model (first: {unknown[0]})"
    )


def _not_applied(lora: WantedLora, reason: str) -> str:
    return f"{lora.file.name} is not applied: {reason}."


def _adapter_name(number: int) -> str:
    return f"lora_{number}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape)
