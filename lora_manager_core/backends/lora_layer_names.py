"""From the key of a tensor in a LoRA file to the layer of a pipeline it belongs to; names only.

Knows kohya's names (`lora_unet_…`, `lora_te…`, and for SDXL the original UNet's block numbers),
PEFT's and the older diffusers ones. Which layers exist is asked of the pipeline itself, so a name
that fits nothing is noticed here and not in the middle of loading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

#: The end of a key and the part of the layer it holds. Longer endings first.
_PARTS = (
    ("_lora.down.weight", "down"),
    ("_lora.up.weight", "up"),
    (".lora_linear_layer.down.weight", "down"),
    (".lora_linear_layer.up.weight", "up"),
    (".lora.down.weight", "down"),
    (".lora.up.weight", "up"),
    (".lora_down.weight", "down"),
    (".lora_up.weight", "up"),
    (".lora_mid.weight", "mid"),
    (".lora_A.default.weight", "down"),
    (".lora_B.default.weight", "up"),
    (".lora_A.weight", "down"),
    (".lora_B.weight", "up"),
    (".alpha", "alpha"),
)
_KOHYA_COMPONENTS = (
    ("lora_unet_", "unet"),
    ("lora_te1_", "text_encoder"),
    ("lora_te2_", "text_encoder_2"),
    ("lora_te3_", "text_encoder_3"),
    ("lora_te_", "text_encoder"),
)
#: What a key holds that can be told from its name and cannot be applied here.
_OTHER_KINDS = (
    ("dora_scale", "a DoRA"),
    ("lora_magnitude_vector", "a DoRA"),
    ("hada_", "a LoHa"),
    ("lokr_", "a LoKr"),
    ("oft_", "an OFT adapter"),
    ("on_input", "an (IA)³ adapter"),
    ("lora_controlnet", "a control LoRA"),
    ("bundle_emb", "a LoRA with embeddings inside"),
)
_OLD_ATTENTION = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass(frozen=True, slots=True)
class LayerPart:
    """`part` (down, up, mid or alpha) of the layer `layer` of `component`."""

    component: str
    layer: str
    part: str


def other_kind(keys: Iterable[str]) -> str | None:
    """What else than a LoRA or LoCon the file is (“a LoHa”), else None."""
    for key in keys:
        for mark, kind in _OTHER_KINDS:
            if mark in key:
                return kind
    return None


class LayerNames:
    """The layers of one pipeline that can take a LoRA, found by any of their names."""

    def __init__(self, layers: Mapping[str, Iterable[str]], denoiser: str) -> None:
        """`layers`: dotted module names by component; `denoiser`: which component that is."""
        self._denoiser = denoiser
        self._dotted = {component: set(names) for component, names in layers.items()}
        self._flat = {
            component: {name.replace(".", "_"): name for name in names}
            for component, names in self._dotted.items()
        }

    def find(self, key: str) -> LayerPart | None:
        """The layer and part a tensor's key stands for; None if this pipeline has no such layer."""
        ending, part = next((entry for entry in _PARTS if key.endswith(entry[0])), ("", ""))
        if not ending:
            return None
        stem = key[: -len(ending)]
        for prefix, component in _KOHYA_COMPONENTS:
            if stem.startswith(prefix):
                component = self._denoiser if component == "unet" else component
                layer = self._by_flat_name(component, stem[len(prefix) :])
                return LayerPart(component, layer, part) if layer else None
        return self._by_dotted_name(stem, part)

    def _by_flat_name(self, component: str, flat: str) -> str | None:
        known = self._flat.get(component, {})
        for candidate in _flat_candidates(flat):
            if candidate in known:
                return known[candidate]
        return None

    def _by_dotted_name(self, stem: str, part: str) -> LayerPart | None:
        stem = stem.removeprefix("base_model.model.").replace(".processor.", ".")
        component, dot, layer = stem.partition(".")
        if not dot or component not in self._dotted:
            component, layer = self._denoiser, stem
        known = self._dotted.get(component, set())
        for candidate in _dotted_candidates(layer):
            if candidate in known:
                return LayerPart(component, candidate, part)
        return None


def _flat_candidates(flat: str) -> Iterator[str]:
    yield flat
    # transformers 5 dropped the `text_model` level of CLIPTextModel that every file names
    yield flat.removeprefix("text_model_")
    yield f"text_model_{flat}"
    yield from_original_unet(flat)


def _dotted_candidates(layer: str) -> Iterator[str]:
    yield layer
    yield layer.removeprefix("text_model.")
    yield f"text_model.{layer}"
    yield f"{layer}.0"  # `to_out_lora` of old attention processors is `to_out.0`
    home, _, last = layer.rpartition(".")
    if last in _OLD_ATTENTION:
        renamed = f"{home}.{_OLD_ATTENTION[last]}"
        yield renamed
        yield renamed.removeprefix("text_model.")


_ORIGINAL_BLOCK = re.compile(r"(input_blocks|output_blocks)_(\d+)_(\d+)_(.+)")
_ORIGINAL_MIDDLE = re.compile(r"middle_block_(\d)_(.+)")
_ORIGINAL_RESNET = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_ORIGINAL_REST = {
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
}
_BLOCKS_PER_LEVEL = 3  # two resnets and a down-sampler (input), three resnets (output): SD and SDXL


def from_original_unet(flat: str) -> str:
    """A layer named after the original UNet (`input_blocks_4_1_…`) in diffusers' names.

    Numbering after CompVis latent-diffusion `openaimodel.py` with two resnets a level.
    """
    if flat in _ORIGINAL_REST:
        return _ORIGINAL_REST[flat]
    middle = _ORIGINAL_MIDDLE.fullmatch(flat)
    if middle:
        place, rest = int(middle[1]), middle[2]
        if place == 1:
            return f"mid_block_attentions_0_{rest}"
        return f"mid_block_resnets_{place // 2}_{_ORIGINAL_RESNET.get(rest, rest)}"
    block = _ORIGINAL_BLOCK.fullmatch(flat)
    if not block:
        return flat
    down, number, place, rest = block[1] == "input_blocks", int(block[2]), int(block[3]), block[4]
    level, layer = divmod(number - 1 if down else number, _BLOCKS_PER_LEVEL)
    side = "down" if down else "up"
    if rest in ("op", "conv"):
        return f"{side}_blocks_{level}_{side}samplers_0_conv"
    if place == 0:
        return f"{side}_blocks_{level}_resnets_{layer}_{_ORIGINAL_RESNET.get(rest, rest)}"
    return f"{side}_blocks_{level}_attentions_{layer}_{rest}"
