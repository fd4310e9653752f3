"""One name for each module of a model, however the adapter's writer spelt it.

Names are those of diffusers with `_` for dots (`down_blocks_1_attentions_0_proj_in`), modules of
text encoders behind the encoder's name (`CLIP-L.encoder_layers_0_mlp_fc1`). A module that one
spelling fuses and another splits is several here, each with its rows. A name that no rule knows
stays as it is, so that files of one trainer still meet.

Sources of the rules: `diffusers/loaders/lora_conversion_utils.py` (Flux, Wan, Anima, Krea 2,
Lumina 2, Z-Image), `diffusers/scripts/convert_sd3_to_diffusers.py` and
`convert_hunyuan_video_to_diffusers.py`, and for the original UNet `backends.lora_layer_names`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from lora_manager_core.backends.lora_layer_names import from_original_unet
from lora_manager_core.library.key_names import flat_name

#: How the rows of a fused module are shared out. `attention`: queries as many as the module has
#: inputs, keys and values half of the rest each (fewer than queries in Lumina 2). `single`:
#: queries, keys and values as many as inputs, then the MLP (Flux). `halves`: equal parts.
Split = Literal["whole", "attention", "single", "halves"]


class Canonical(NamedTuple):
    """The modules that one module of a file stands for, and how its rows are shared out."""

    names: tuple[str, ...]
    split: Split


@lru_cache(maxsize=8192)
def canonical(module: str) -> Canonical:
    """The canonical modules of a module as `key_names.KeyName` has it."""
    flat, encoder = flat_name(module)
    if encoder is not None:
        return Canonical((f"{encoder}.{_text_module(flat)}",), "whole")
    flat = _plain(from_original_unet(flat))
    numbered = _NUMBERED.fullmatch(flat)
    if numbered is None:
        return _RULES.get(flat, Canonical((flat,), "whole"))
    rule = _RULES.get(f"{numbered[1]}N{numbered[3]}")
    if rule is None:
        return Canonical((flat,), "whole")
    return Canonical(tuple(name.replace("N", numbered[2], 1) for name in rule.names), rule.split)


def rows_of(split: Split, parts: int, outputs: int, inputs: int) -> list[tuple[int, int]] | None:
    """Begin and end of each part's rows; None where the widths do not fit the split."""
    if split == "whole":
        return [(0, outputs)]
    if split == "attention":
        rest = outputs - inputs
        widths = [inputs, rest // 2, rest - rest // 2]
    elif split == "single":
        widths = [inputs] * 3 + [outputs - 3 * inputs]
    else:
        widths = [outputs // parts] * parts
    if min(widths) <= 0 or sum(widths) != outputs or (split == "attention" and rest % 2):
        return None
    rows, begin = [], 0
    for width in widths:
        rows.append((begin, begin + width))
        begin += width
    return rows


def block_group(name: str) -> str:
    """Where a canonical module sits: text, in, mid, out, double, single, blocks or other."""
    if "." in name:
        return "text"
    return next((group for beginning, group in _GROUPS if name.startswith(beginning)), "other")


_GROUPS = (
    ("down_blocks_", "in"), ("conv_in", "in"), ("mid_block_", "mid"), ("up_blocks_", "out"),
    ("conv_out", "out"), ("transformer_blocks_", "double"), ("joint_transformer_blocks_", "double"),
    ("double_stream_blocks_", "double"), ("single_transformer_blocks_", "single"),
    ("single_stream_blocks_", "single"), ("blocks_", "blocks"), ("layers_", "blocks"),
)  # fmt: skip

_NUMBERED = re.compile(r"([A-Za-z_]*?_)(\d+)(_.+)")
_TEXT_BEGINNING = re.compile(
    r"(lora_)?(te\d?|text_encoder(_\d)?|clip_[lg]|t5xxl|unet(?=_llm_adapter))_(transformer_)?"
    r"(text_model_)?|lora_(?=llm_adapter)"
)
#: Attention of text encoders as diffusers named it before it used PEFT.
_OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


def _text_module(flat: str) -> str:
    name = _TEXT_BEGINNING.sub("", flat, count=1)
    for old, new in _OLD_TEXT.items():
        if name.endswith(f"self_attn_{old}"):
            return name.removesuffix(old) + new
    return name


def _plain(flat: str) -> str:
    """Without what old diffusers put between attention and projection, and left out behind it."""
    if "_processor_to_" in flat:
        flat = flat.replace("_processor_to_", "_to_")
    if flat.endswith("_to_out") and not flat.startswith("single_transformer_blocks_"):
        flat += "_0"
    return flat


def _one_to_one(source: str, target: str, names: dict[str, str]) -> dict[str, Canonical]:
    return {f"{source}{old}": Canonical((f"{target}{new}",), "whole") for old, new in names.items()}


def _attention(source: str, *targets: str) -> dict[str, Canonical]:
    return {source: Canonical(targets, "attention")}


def _flux() -> dict[str, Canonical]:
    """Black Forest Labs' names, XLabs' and Flux.2's own of diffusers (also Hunyuan Video's)."""
    double, single = "transformer_blocks_N_", "single_transformer_blocks_N_"
    picture = tuple(f"{double}attn_to_{p}" for p in "qkv")
    text = tuple(f"{double}attn_add_{p}_proj" for p in "qkv")
    alone = tuple(f"{single}attn_to_{p}" for p in "qkv")
    rules = {
        **_attention("double_blocks_N_img_attn_qkv", *picture),
        **_attention("double_blocks_N_processor_qkv1", *picture),
        **_attention("double_blocks_N_txt_attn_qkv", *text),
        **_attention("double_blocks_N_processor_qkv2", *text),
        **_attention("single_blocks_N_processor_qkv", *alone),
        "norm_out_linear": Canonical(("norm_out_linear_scale", "norm_out_linear_shift"), "halves"),
        "final_layer_adaLN_modulation_1": Canonical(
            ("norm_out_linear_shift", "norm_out_linear_scale"), "halves"
        ),
    }
    for fused in ("single_blocks_N_linear1", f"{single}attn_to_qkv_mlp_proj"):
        rules[fused] = Canonical((*alone, f"{single}proj_mlp"), "single")
    for side, suffix, out in (("img", "", "attn_to_out_0"), ("txt", "_context", "attn_to_add_out")):
        names = {
            f"{side}_attn_proj": out,
            f"processor_proj{1 if side == 'img' else 2}": out,
            f"{side}_mlp_0": f"ff{suffix}_net_0_proj",
            f"{side}_mlp_2": f"ff{suffix}_net_2",
            f"{side}_mlp_fc1": f"ff{suffix}_net_0_proj",
            f"{side}_mlp_fc2": f"ff{suffix}_net_2",
            f"{side}_mod_lin": f"norm1{suffix}_linear",
            f"{side}_mod_linear": f"norm1{suffix}_linear",
        }
        rules |= _one_to_one("double_blocks_N_", double, names)
        flux2 = {
            f"ff{suffix}_linear_in": f"ff{suffix}_net_0_proj",
            f"ff{suffix}_linear_out": f"ff{suffix}_net_2",
        }
        rules |= _one_to_one(double, double, flux2)
    names = {"linear2": "proj_out", "processor_proj": "proj_out", "modulation_lin": "norm_linear",
             "modulation_linear": "norm_linear"}  # fmt: skip
    rules |= _one_to_one("single_blocks_N_", single, names)
    rules |= _one_to_one(single, single, {"attn_to_out": "proj_out", "attn_to_out_0": "proj_out"})
    embedders = {
        "time_in": "timestep_embedder",
        "guidance_in": "guidance_embedder",
        "vector_in": "text_embedder",
    }
    for old, new in embedders.items():
        for layer, number in (("in_layer", 1), ("out_layer", 2)):
            target = Canonical((f"time_text_embed_{new}_linear_{number}",), "whole")
            rules[f"{old}_{layer}"] = target
            rules[f"time_guidance_embed_{new}_linear_{number}"] = target
    names = {"img_in": "x_embedder", "txt_in": "context_embedder", "final_layer_linear": "proj_out"}
    rules |= _one_to_one("", "", names)
    for modulation in ("single_stream_modulation", "double_stream_modulation_img",
                       "double_stream_modulation_txt"):  # fmt: skip
        rules[f"{modulation}_lin"] = Canonical((f"{modulation}_linear",), "whole")
    return rules


def _sd3() -> dict[str, Canonical]:
    source, target = "joint_blocks_N_", "transformer_blocks_N_"
    rules = {
        **_attention(f"{source}x_block_attn_qkv", *(f"{target}attn_to_{p}" for p in "qkv")),
        **_attention(f"{source}x_block_attn2_qkv", *(f"{target}attn2_to_{p}" for p in "qkv")),
        **_attention(
            f"{source}context_block_attn_qkv", *(f"{target}attn_add_{p}_proj" for p in "qkv")
        ),
    }
    names = {
        "x_block_attn_proj": "attn_to_out_0",
        "x_block_attn2_proj": "attn2_to_out_0",
        "x_block_mlp_fc1": "ff_net_0_proj",
        "x_block_mlp_fc2": "ff_net_2",
        "x_block_adaLN_modulation_1": "norm1_linear",
        "context_block_attn_proj": "attn_to_add_out",
        "context_block_mlp_fc1": "ff_context_net_0_proj",
        "context_block_mlp_fc2": "ff_context_net_2",
        "context_block_adaLN_modulation_1": "norm1_context_linear",
    }
    return rules | _one_to_one(source, target, names)


def _wan() -> dict[str, Canonical]:
    names = {
        "ffn_0": "ffn_net_0_proj",
        "ffn_2": "ffn_net_2",
        "cross_attn_k_img": "attn2_add_k_proj",
        "cross_attn_v_img": "attn2_add_v_proj",
    }
    for old, new in (("self_attn", "attn1"), ("cross_attn", "attn2")):
        names |= {f"{old}_{p}": f"{new}_to_{p}" for p in "qkv"}
        names[f"{old}_o"] = f"{new}_to_out_0"
    whole = {
        "time_projection_1": "condition_embedder_time_proj",
        "time_embedding_0": "condition_embedder_time_embedder_linear_1",
        "time_embedding_2": "condition_embedder_time_embedder_linear_2",
        "text_embedding_0": "condition_embedder_text_embedder_linear_1",
        "text_embedding_2": "condition_embedder_text_embedder_linear_2",
        "head_head": "proj_out",
    }
    return _one_to_one("blocks_N_", "blocks_N_", names) | _one_to_one("", "", whole)


def _anima() -> dict[str, Canonical]:
    names = {"mlp_layer1": "ff_net_0_proj", "mlp_layer2": "ff_net_2"}
    for number, part in enumerate(("self_attn", "cross_attn", "mlp"), start=1):
        for layer in (1, 2):
            names[f"adaln_modulation_{part}_{layer}"] = f"norm{number}_linear_{layer}"
    for old, new in (("self_attn", "attn1"), ("cross_attn", "attn2")):
        names |= {f"{old}_{p}_proj": f"{new}_to_{p}" for p in "qkv"}
        names[f"{old}_output_proj"] = f"{new}_to_out_0"
    return _one_to_one("blocks_N_", "transformer_blocks_N_", names)


def _krea() -> dict[str, Canonical]:
    names = {f"attn_w{p}": f"attn_to_{p}" for p in "qkv"}
    names |= {"attn_wo": "attn_to_out_0", "attn_gate": "attn_to_gate"}
    names |= {f"mlp_{p}": f"ff_{p}" for p in ("gate", "up", "down")}
    rules = _one_to_one("blocks_N_", "transformer_blocks_N_", names)
    for blocks in ("layerwise_blocks_N_", "refiner_blocks_N_"):
        rules |= _one_to_one(f"txtfusion_{blocks}", f"text_fusion_{blocks}", names)
    # `img_in` and `final_layer_linear` of diffusers are renamed by the rules of Flux.
    whole = {"first": "x_embedder", "last_linear": "proj_out", "tmlp_0": "time_embed_linear_1",
             "tmlp_2": "time_embed_linear_2", "tproj_1": "time_mod_proj",
             "txtmlp_1": "txt_in_linear_1", "txtmlp_3": "txt_in_linear_2",
             "txtfusion_projector": "text_fusion_projector"}  # fmt: skip
    return rules | _one_to_one("", "", whole)


def _next_dit() -> dict[str, Canonical]:
    """Lumina 2 and Z-Image."""
    rules: dict[str, Canonical] = {}
    names = {f"attention_to_{p}": f"attn_to_{p}" for p in "qkv"}
    names |= {"attention_to_out_0": "attn_to_out_0", "attention_out": "attn_to_out_0"}
    names |= {f"feed_forward_w{n}": f"feed_forward_linear_{n}" for n in "123"}
    names["adaLN_modulation_1"] = "norm1_linear"
    for place in ("layers_N_", "noise_refiner_N_", "context_refiner_N_"):
        rules |= _one_to_one(place, place, names)
        rules |= _attention(f"{place}attention_qkv", *(f"{place}attn_to_{p}" for p in "qkv"))
    return rules


_RULES = {**_flux(), **_sd3(), **_wan(), **_anima(), **_krea(), **_next_dit()}
