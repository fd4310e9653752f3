"""Splits the tensor names of adapter files into what they say: part, module, place in the model.

Understands the spellings of kohya/LyCORIS (`lora_unet_…_attn2_to_k.lora_down.weight`), diffusers
(`unet.….attn2.to_k_lora.down.weight`), PEFT (`base_model.model.….lora_A.default.weight`), XLabs
(`….processor.qkv_lora1.down.weight`), OneTrainer and AI-toolkit. Each name is split once and
remembered; rules elsewhere compare patterns, never names.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

# What a tensor is to its module, by the last piece of its name. Sources: kohya sd-scripts
# `networks/lora.py`, LyCORIS `lycoris/modules/`, PEFT `peft/tuners/`, diffusers
# `loaders/lora_conversion_utils.py`.
PARTS = {
    "lora_down": "down", "lora_A": "down", "lora_up": "up", "lora_B": "up", "lora_mid": "mid",
    "alpha": "alpha",
    "dora_scale": "dora", "lora_magnitude_vector": "dora", "magnitude": "dora",
    "hada_w1_a": "hada_w1_a", "hada_w1_b": "hada_w1_b",
    "hada_w2_a": "hada_w2_a", "hada_w2_b": "hada_w2_b",
    "hada_t1": "hada_t1", "hada_t2": "hada_t2",
    "lokr_w1": "lokr_w1", "lokr_w1_a": "lokr_w1_a", "lokr_w1_b": "lokr_w1_b",
    "lokr_w2": "lokr_w2", "lokr_w2_a": "lokr_w2_a", "lokr_w2_b": "lokr_w2_b", "lokr_t2": "lokr_t2",
    "oft_blocks": "oft_blocks", "oft_diag": "oft", "oft_R": "oft",
    "boft_R": "boft", "boft_s": "boft",
    "on_input": "ia3", "ia3_l": "ia3",
    "a1": "glora_a", "a2": "glora_a", "b1": "glora_b", "b2": "glora_b",
    "w_norm": "norm", "b_norm": "norm", "diff": "diff", "diff_b": "diff",
    "q_layer": "tlora", "p_layer": "tlora", "lambda_layer": "tlora",
}  # fmt: skip

# Beginnings that only say which file family wrote the name; stripped again and again.
_WRAPPERS = frozenset(("base_model", "model", "diffusion_model", "transformer", "unet", "module"))
_KOHYA_PREFIXES = ("lora_unet_", "lora_transformer_", "lora_prior_unet_", "lycoris_", "unet_")

# Text encoders by the beginning of a name. `lora_te2` is CLIP-G in SDXL and SD 3 and T5 in Flux.
_ENCODERS = (
    ("lora_te1_", "CLIP-L"), ("lora_te2_", "CLIP-G"), ("lora_te3_", "T5"),
    ("lora_te_layers_", "LLM"), ("lora_te_", "CLIP-L"), ("lora_te", "CLIP-L"),
    ("text_encoder_2", "CLIP-G"), ("text_encoder_3", "T5"), ("text_encoder", "CLIP-L"),
    ("te1_", "CLIP-L"), ("te2_", "CLIP-G"), ("te3_", "T5"),
    ("clip_l", "CLIP-L"), ("clip_g", "CLIP-G"), ("t5xxl", "T5"),
    ("llm_adapter", "LLM"), ("lora_llm_adapter", "LLM"), ("lora_unet_llm_adapter", "LLM"),
)  # fmt: skip
_ENCODER_BEGINNINGS = tuple(beginning for beginning, _ in _ENCODERS)
_T5_MARKS = ("encoder_block", "SelfAttention", "DenseReluDense")


class KeyName(NamedTuple):
    """One tensor name, split.

    `part`: a value of PARTS, or "other". `module`: what the parts of one module have in common.
    `pattern`: the module without its prefix, `_` between pieces and `N` for each number.
    `block`: its first number (which block), or -1. `depth`: the number after a nested
    `transformer_blocks`, or -1. `encoder`: the text encoder it belongs to, or None.
    """

    part: str
    module: str
    pattern: str
    block: int
    depth: int
    encoder: str | None


@lru_cache(maxsize=16384)  # about five times the names of the largest SDXL adapter
def split_key(key: str) -> KeyName:
    """Split one tensor name of an adapter file."""
    pieces = key.split(".")
    part = _take_part(pieces)
    module = ".".join(pieces)
    if key.startswith("bundle_emb."):
        part = "embedding"
    elif key.startswith("lora_controlnet"):
        part = "control"
    return tuple.__new__(KeyName, (part, module, *place_of(module)))  # half the time of KeyName(…)


@lru_cache(maxsize=8192)
def place_of(module: str) -> tuple[str, int, int, str | None]:
    """The last four fields of KeyName for a module; two or three tensors share it."""
    flat, encoder = flat_name(module)
    return (*_pattern(flat), encoder)


def flat_name(module: str) -> tuple[str, str | None]:
    """A module with `_` between pieces, without wrappers and prefixes, and its text encoder.

    The name of a text encoder's module keeps the beginning that says which encoder it is.
    """
    flat = module
    if "." in module:
        pieces = module.split(".")
        while len(pieces) > 1 and pieces[0] in _WRAPPERS:
            del pieces[0]
        flat = "_".join(pieces)
    encoder = _encoder(flat)
    if encoder is None:
        for prefix in _KOHYA_PREFIXES:
            if flat.startswith(prefix):
                flat = flat[len(prefix) :]
                break
    return flat, encoder


def _take_part(pieces: list[str]) -> str:
    """Cut the pieces that name the part off the end of `pieces` and say which part it is."""
    end = len(pieces)
    bare_weight = end > 1 and pieces[-1] == "weight"
    if bare_weight:
        end -= 1
    last = pieces[end - 1]
    part = PARTS.get(last)
    if part is None and end > 1:
        before = pieces[end - 2]
        if last in ("down", "up"):
            if before in ("lora", "lora_linear_layer"):
                del pieces[end - 2 :]
                return last
            head, found, tail = before.rpartition("_lora")
            if found and (not tail or tail.isdigit()):  # to_q_lora.down, processor.qkv_lora1.down
                del pieces[end - 1 :]
                pieces[-1] = head + tail  # XLabs: 1 is the picture's side of a block, 2 the text's
                return last
        named = PARTS.get(before)
        if named is not None and last != "bias" and before.startswith(("lora_", "hada_", "lokr_")):
            del pieces[end - 2 :]  # PEFT: the adapter's own name follows the part
            return named
    if part is None:
        if bare_weight:
            del pieces[end:]
            return "weight"
        return "other"
    del pieces[end - 1 :]
    return part


def _encoder(flat: str) -> str | None:
    if not flat.startswith(_ENCODER_BEGINNINGS):
        return None
    for prefix, encoder in _ENCODERS:
        if flat.startswith(prefix):
            if encoder == "CLIP-G" and any(mark in flat for mark in _T5_MARKS):
                return "T5"
            return encoder
    return None


def _pattern(flat: str) -> tuple[str, int, int]:
    """`double_blocks_0_img_mlp_2` gives (`double_blocks_N_img_mlp_N`, 0, -1)."""
    words = flat.split("_")
    block = depth = -1
    for place, word in enumerate(words):
        if word.isdecimal() and word.isascii():
            number = int(word) if len(word) < 10 else -1
            if block < 0:
                block = number
            elif place > 1 and words[place - 1] == "blocks" and words[place - 2] == "transformer":
                depth = number
            words[place] = "N"
    return "_".join(words), block, depth
