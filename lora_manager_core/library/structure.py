"""Tells the base model from where an adapter's layers sit and how wide they are.

Every rule asks for widths, or for modules that only one model has; block names alone decide
nothing. Widths come from the published model configurations on the Hugging Face hub
(`transformer/config.json`, `unet/config.json`); key spellings as in `key_names`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lora_manager_core.library.network_type import Layout


class Finding(NamedTuple):
    """A base label and how sure the rule is, 0..1."""

    label: str
    confidence: float


def structure_of(layout: Layout) -> Finding | None:
    """The base model that the layout proves, or None where it leaves more than one open."""
    places = frozenset(layout.inputs) | frozenset(layout.outputs)
    for rule in _RULES:
        finding = rule(layout, places)
        if finding is not None:
            return finding
    return None


def _widths(layout: Layout, marks: tuple[str, ...], *, inputs: bool = True) -> set[int]:
    """Every width seen under the patterns (of the denoiser) that contain one of `marks`."""
    seen: set[int] = set()
    for place, widths in (layout.inputs if inputs else layout.outputs).items():
        if ":" not in place and any(mark in place for mark in marks):
            seen |= widths
    return seen


def _has(places: frozenset[str], *marks: str) -> bool:
    return any(mark in place for place in places for mark in marks if ":" not in place)


def _starts(places: frozenset[str], *beginnings: str) -> bool:
    return any(place.startswith(beginnings) for place in places)


_QUERIES = ("to_q", "to_k", "to_v")
_UNET = ("down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks", "middle_block")

# Width of the text that attn2.to_k reads: SD 1.x CLIP-L, SD 2.x OpenCLIP-H, SDXL both encoders
# side by side, the refiner OpenCLIP-G alone (unet/config.json, cross_attention_dim).
_CROSS_WIDTHS = {768: "SD 1.5", 1024: "SD 2.x", 2048: "SDXL", 1280: "SDXL Refiner"}


def _self_attention(seen: dict[str, set[int]]) -> set[int]:
    found: set[int] = set()
    for place, widths in seen.items():
        if "attn1_" in place and place.startswith(_UNET) and place.endswith(_QUERIES):
            found |= widths
    return found


def _unet(layout: Layout, places: frozenset[str]) -> Finding | None:
    if not _starts(places, *_UNET):
        return None
    cross: set[int] = set()
    for place, widths in layout.inputs.items():
        if place.startswith(_UNET) and place.endswith(("to_k", "to_v")) and "attn2" in place:
            cross |= widths
    # attn1 is as wide behind as before; OFT, BOFT and IA3 tell only the width behind.
    self_attention = _self_attention(layout.inputs) | _self_attention(layout.outputs)
    decided = {_CROSS_WIDTHS[width] for width in cross if width in _CROSS_WIDTHS}
    if len(decided) == 1 and cross <= _CROSS_WIDTHS.keys():
        return Finding(decided.pop(), 0.99)
    if decided:
        return None
    # Sliders touch self-attention only. SDXL nests up to ten transformer blocks, SD 1 and 2 one,
    # the refiner four of other widths (384, 768, 1536).
    if layout.depth >= 1 and self_attention and self_attention <= {640, 1280}:
        return Finding("SDXL", 0.95)
    if layout.depth >= 1 and self_attention and self_attention <= {768, 1536}:
        return Finding("SDXL Refiner", 0.9)
    if self_attention and self_attention <= {640, 1280} and _starts(places, *_UNET[3:]):
        return Finding("SDXL", 0.8)  # this spelling is SDXL's; SD 1 and 2 attend at 320 too
    for place, widths in layout.inputs.items():
        if 320 in widths and place.startswith(_UNET) and place.endswith("attentions_N_proj_in"):
            convolution = place in layout.convolutions  # SD 2.x: use_linear_projection
            return Finding("SD 1.5", 0.85) if convolution else Finding("SD 2.x", 0.75)
    return None


def _clip_only(layout: Layout, places: frozenset[str]) -> Finding | None:
    """Adapters of an SD text encoder: 768 alone is SD 1.x, 1024 SD 2.x, CLIP-G beside it SDXL."""
    if _has(places, "double_blocks", "joint_blocks") or layout.encoders & {"T5", "LLM"}:
        return None
    if not all(":" in place or place.startswith(_UNET) for place in places):
        return None
    widths: dict[str, set[int]] = {"CLIP-L": set(), "CLIP-G": set()}
    for place, seen in layout.inputs.items():
        encoder, found, pattern = place.partition(":")
        if found and pattern.endswith("self_attn_q_proj"):
            widths.setdefault(encoder, set()).update(seen)
    if widths["CLIP-G"] == {1280} and widths["CLIP-L"] in ({768}, set()):
        return Finding("SDXL", 0.9) if _starts(places, *_UNET) else None
    if layout.encoders != {"CLIP-L"} or not _starts(places, "CLIP-L:lora_te_"):
        return None
    if widths["CLIP-L"] == {768}:
        return Finding("SD 1.5", 0.85)
    return Finding("SD 2.x", 0.85) if widths["CLIP-L"] == {1024} else None


_FLUX2_ONLY = ("to_qkv_mlp_proj", "ff_linear_in", "ff_context_linear_in", "stream_modulation")
_FLUX2_WIDTHS = {3072: "Flux.2 Klein 4B", 4096: "Flux.2 Klein 9B", 6144: "Flux.2 Dev"}
_FLUX2_CONTEXTS = {7680: "Flux.2 Klein 4B", 12288: "Flux.2 Klein 9B", 15360: "Flux.2 Dev"}
# Modules that Flux.1 has per block or once and Chroma replaced by its distilled guidance layer.
_FLUX1_ONLY = (
    "img_mod", "txt_mod", "modulation_lin", "norm1_linear", "normN_linear", "norm1_context_linear",
    "normN_context_linear", "single_transformer_blocks_N_norm_linear", "guidance_in", "vector_in",
    "time_in", "time_text_embed", "adaLN_modulation",
)  # fmt: skip
_FLUX_ATTENTION = (
    "attn_qkv", "attn_proj", "processor_qkv", "processor_proj", "attn_to_q", "attn_to_k",
    "attn_to_v", "attn_add_", "to_qkv_mlp_proj", "linear1",
)  # fmt: skip


# Width of Hunyuan Video 1.5, of Video 1.0, and of Image 2.1 (heads times 128).
_HUNYUAN_WIDTHS = {2048: "Hunyuan Video", 3072: "Hunyuan Video", 3584: "Hunyuan Image"}


def _hunyuan(places: frozenset[str], widths: set[int]) -> Finding | None:
    """Flux's blocks under Flux's names, in other widths and with Hunyuan's own text modules."""
    decided = {_HUNYUAN_WIDTHS[width] for width in widths if width in _HUNYUAN_WIDTHS}
    if _has(places, "img_mlp_fc", "individual_token_refiner", "byt5_in", "img_mod_linear"):
        if len(decided) == 1:
            return Finding(decided.pop(), 0.95)
        return Finding("Hunyuan Image" if _has(places, "byt5_in") else "Hunyuan Video", 0.9)
    return Finding("Hunyuan Image", 0.9) if widths == {3584} else None


def _flux(layout: Layout, places: frozenset[str]) -> Finding | None:
    if _has(places, "distilled_guidance_layer"):
        return Finding("Chroma", 0.99)
    joint = _starts(places, "double_blocks", "single_blocks", "single_transformer_blocks")
    if not joint and not _has(places, *_FLUX2_ONLY, "ff_context"):
        return None
    blocks = layout.blocks
    double = max((n for p, n in blocks.items() if p.startswith("double_blocks")), default=-1)
    single = max((n for p, n in blocks.items() if p.startswith("single_")), default=-1)
    if _starts(places, "joint_transformer_blocks"):
        return Finding("AuraFlow", 0.9)
    widths = _widths(layout, _FLUX_ATTENTION)
    hunyuan = _hunyuan(places, widths)
    if hunyuan is not None:
        return hunyuan
    if widths == {3072} and (double > 18 or single > 37):  # Flux.1 has 19 and 38 blocks
        return Finding("Hunyuan Video", 0.85)
    return _flux2(layout, places, widths) or _flux1(layout, places, widths)


def _flux2(layout: Layout, places: frozenset[str], widths: set[int]) -> Finding | None:
    """Flux.2 shares its modulation between blocks and gates its MLP (three times the width)."""
    context = _widths(layout, ("context_embedder", "txt_in"))
    by_context = [label for width, label in _FLUX2_CONTEXTS.items() if width in context]
    named = _has(places, *_FLUX2_ONLY)
    gated = 3072 in widths and (
        27648 in _widths(layout, ("linearN", "linear1"), inputs=False)
        or 18432 in _widths(layout, ("img_mlp_N", "txt_mlp_N"), inputs=False)
    )
    if by_context:
        return Finding(by_context[0], 0.98)
    if not (named or gated or widths & {4096, 6144}):
        return None
    decided = [label for width, label in _FLUX2_WIDTHS.items() if width in widths]
    if len(decided) != 1:
        everywhere = _widths(layout, ("",)) & _FLUX2_WIDTHS.keys()
        decided = [_FLUX2_WIDTHS[width] for width in everywhere]
    if len(decided) == 1:
        return Finding(decided[0], 0.95)
    return Finding("Flux.2", 0.8) if named else None


def _flux1(layout: Layout, places: frozenset[str], widths: set[int]) -> Finding | None:
    """Flux.1 and Chroma have one skeleton; only modulation and CLIP tell them apart."""
    everywhere = _widths(layout, _FLUX_ATTENTION + ("linear", "proj_mlp", "mlp", "ff_"))
    if 3072 not in widths and not {3072, 12288} & everywhere:
        return None
    if _has(places, *_FLUX1_ONLY) or "CLIP-L" in layout.encoders:
        return Finding("Flux.1", 0.97)
    return Finding("Flux.1 or Chroma", 0.9)


def _sd3(layout: Layout, places: frozenset[str]) -> Finding | None:
    if not _starts(places, "joint_blocks", "transformer_blocks"):
        return None
    widths = _widths(layout, ("attn_qkv", "attn_to_q", "attn_to_k", "attn_to_v", "attn_add_"))
    if not widths and _starts(places, "joint_blocks"):
        widths = _widths(layout, ("mlp_fcN", "mlp_fc1", "adaLN_modulation"))
    if widths == {2432}:
        return Finding("SD 3.5 Large", 0.97)
    if widths == {1536}:  # SD 3 Medium has the same width; only 3.5 has a second attention
        return Finding("SD 3.5 Medium", 0.97) if _has(places, "attn2") else Finding("SD 3", 0.9)
    return None


def _qwen(layout: Layout, places: frozenset[str]) -> Finding | None:
    if not _starts(places, "transformer_blocks") or _starts(places, "single_transformer_blocks"):
        return None
    marks = ("attn_to_", "attn_add_", "img_mlp", "txt_mlp")
    if 3072 not in _widths(layout, marks):
        return None
    if _has(places, "img_mlp", "txt_mlp", "img_mod", "txt_mod"):
        return Finding("Qwen-Image", 0.97)
    if _has(places, "_ff_", "ff_context", "norm1", "normN"):
        return None  # a Flux adapter without its single blocks
    deepest = max((n for p, n in layout.blocks.items() if p.startswith("transformer_")), default=0)
    return Finding("Qwen-Image", 0.9 if deepest > 18 else 0.7)  # Flux.1 ends at block 18


def _next_dit(layout: Layout, places: frozenset[str]) -> Finding | None:
    own = ("layers_N_attention", "layers_N_feed", "noise_refiner", "context_refiner")
    if not _starts(places, *own):
        return None
    widths = _widths(layout, ("attention_", "feed_forward_w1", "feed_forward_wN"))
    if 3840 in widths:
        return Finding("Z-Image", 0.98)
    return Finding("Lumina 2", 0.95) if 2304 in widths else None


_WAN_WIDTHS = {1536: "Wan 2.1 1.3B", 3072: "Wan 2.2 5B", 5120: "Wan 14B"}


def _wan(layout: Layout, places: frozenset[str]) -> Finding | None:
    ends = ("attn_q", "attn_k", "attn_v", "attn_o", "attn1_to_q", "attn1_to_k", "attn1_to_v",
            "attn2_to_q", "attn2_to_k", "attn2_to_v", "ffn_N", "ffn_net_N_proj")  # fmt: skip
    widths: set[int] = set()
    for place, seen in layout.inputs.items():
        if place.startswith("blocks_N_") and place.endswith(ends):
            widths |= seen
    decided = [label for width, label in _WAN_WIDTHS.items() if width in widths]
    if len(decided) != 1:
        return None
    # Only Wan 2.1's image-to-video models read the picture through k_img and v_img.
    image = _has(places, "k_img", "v_img", "add_k_proj", "add_v_proj")
    if image and decided[0] == "Wan 14B":
        return Finding("Wan 2.1 14B I2V", 0.98)
    return Finding(decided[0], 0.97)


def _anima(layout: Layout, places: frozenset[str]) -> Finding | None:
    """Anima is Cosmos-Predict2 2B with another text encoder; its llm_adapter is its own."""
    own = any("llm_adapter" in place for place in places)
    seen: set[int] = set()
    for place, widths in layout.inputs.items():
        if place.startswith("blocks_N_") and (
            place.endswith(("_q_proj", "_k_proj", "_v_proj", "_output_proj"))
            or "mlp_layer" in place
            or "adaln_modulation" in place
        ):
            seen |= widths
    if 2048 in seen:
        return Finding("Anima", 0.98 if own or "LLM" in layout.encoders else 0.9)
    return None


def _other_transformers(layout: Layout, places: frozenset[str]) -> Finding | None:
    if _has(places, "text_fusion", "txtfusion") or (
        _has(places, "attn_wq") and _has(places, "attn_gate")
    ):
        return Finding("Krea 2", 0.9)
    if _has(places, "double_stream_blocks", "shared_experts"):
        return Finding("HiDream", 0.95)
    if _starts(places, "joint_transformer_blocks"):
        return Finding("AuraFlow", 0.9)
    if _starts(places, "transformer_blocks"):
        if _widths(layout, ("attn1_to_q", "attn1_to_k", "attn1_to_v")) == {2048}:
            return Finding("LTX", 0.85)
        if _widths(layout, ("attn1_to_q", "attn1_to_k", "attn1_to_v")) == {1152}:
            return Finding("PixArt", 0.85)
    return None


_RULES: tuple[Callable[[Layout, frozenset[str]], Finding | None], ...] = (
    _unet, _flux, _sd3, _qwen, _next_dit, _wan, _anima, _other_transformers, _clip_only,
)  # fmt: skip
