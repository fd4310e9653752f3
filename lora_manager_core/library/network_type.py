"""Says what kind of network an adapter is, its ranks and where its layers sit, from the header.

One pass over the tensors; what the base-model rules need is collected in `Layout` on the way.
Sources of the tensor layouts: LyCORIS `lycoris/modules/` (loha, lokr, diag-oft, boft, ia3, glora,
norms, full), kohya sd-scripts `networks/lora.py`, DoRA (arXiv 2402.09353) as LyCORIS stores it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lora_manager_core.library.key_names import KeyName, place_of, split_key

Shape = list[int]

# Which type a part proves, strongest first: a DoRA is any of them with a magnitude beside it, and a
# LyCORIS preset may add whole norms or differences to a low-rank network.
_TYPES_BY_PART = (
    ("dora", "dora"),
    ("hada_w1_a", "loha"), ("hada_w1_b", "loha"), ("hada_w2_a", "loha"), ("hada_w2_b", "loha"),
    ("hada_t2", "loha"),
    ("lokr_w1", "lokr"), ("lokr_w1_a", "lokr"), ("lokr_w2", "lokr"), ("lokr_w2_a", "lokr"),
    ("boft", "boft"), ("oft", "oft"),
    ("glora_a", "glora"), ("glora_b", "glora"),
    ("ia3", "ia3"),
    ("mid", "locon"), ("conv", "locon"),
    ("down", "lora"), ("up", "lora"),
    ("diff", "full"),
    ("norm", "norm"),
)  # fmt: skip


#: What a column of the catalogue holds. An axis may claim more where another one is 0.
_HIGHEST_RANK = 2**31 - 1


@dataclass(slots=True)
class Layout:
    """Where the modules of an adapter sit and how wide they are: what tells the base model.

    `inputs` and `outputs` hold the widths seen under each pattern of `KeyName`; modules of a text
    encoder are filed as `CLIP-L:…`. `blocks` is the highest block number under each pattern,
    `depth` the highest nested transformer block, `convolutions` the patterns with 4-D weights.
    """

    inputs: dict[str, set[int]] = field(default_factory=dict)
    outputs: dict[str, set[int]] = field(default_factory=dict)
    blocks: dict[str, int] = field(default_factory=dict)
    convolutions: set[str] = field(default_factory=set)
    encoders: set[str] = field(default_factory=set)
    depth: int = -1


@dataclass(frozen=True, slots=True)
class Network:
    """The kind of an adapter.

    `network_type` is one of lora, locon, loha, lokr, oft, boft, ia3, glora, norm, full, dora, or
    None where nothing proves one. `rank` is the commonest rank, None for kinds without one (for
    OFT the first axis counts blocks). `alpha_keys` names one alpha tensor per rank; under None the
    first one of a module without a rank. `control` marks control LoRAs, `embedding` adapters
    with a textual inversion inside.
    """

    network_type: str | None
    rank: int | None
    rank_min: int | None
    rank_max: int | None
    alpha_keys: dict[int | None, str]
    text_encoders: tuple[str, ...]
    control: bool
    embedding: bool
    layout: Layout


def describe_network(tensors: Mapping[str, Mapping[str, Any]]) -> Network:
    """Describe the tensors of one header (name → entry with `shape`)."""
    layout = Layout()
    parts: set[str] = set()
    ranks: dict[str, int] = {}
    alphas: dict[str, str] = {}
    factors: dict[str, dict[str, Shape]] = {}
    turned: set[str] = set()  # LoHa modules with t1: w1_a is (rank, out) there
    for key, entry in tensors.items():
        name = split_key(key)
        part = name.part
        if part == "alpha":
            alphas[name.module] = key
            continue
        shape: Shape = entry["shape"]
        parts.add(part)
        place = _place(layout, name)
        axes = len(shape)
        if part == "down" and axes >= 2:
            ranks[name.module] = shape[0]
            _note(layout.inputs, place, shape[1])
            if axes > 2:
                layout.convolutions.add(place)
                if shape[2] > 1 or shape[-1] > 1:
                    parts.add("conv")
        elif part == "up" and axes >= 2:
            _note(layout.outputs, place, shape[0])
        elif part == "hada_w1_b" and axes >= 2:
            ranks[name.module] = shape[0]
            _note(layout.inputs, place, shape[1])
        elif part == "hada_t1":
            turned.add(name.module)
        elif part == "oft_blocks":
            parts.add("boft" if axes == 4 else "oft")
            if axes >= 2:
                _note(layout.outputs, place, shape[-3] * shape[-1] if axes > 2 else shape[-1])
        elif part == "glora_a" and axes >= 2:  # A·B works on the input: (rank, in) and (in, rank)
            _note(layout.inputs, place, max(shape[:2]))
        elif part == "glora_b" and axes >= 2:  # (rank, in) and (out, rank)
            ranks[name.module] = min(shape[:2])
            if shape[0] > shape[1]:
                _note(layout.outputs, place, shape[0])
        elif part == "weight" and axes == 1:  # IA3, which sits behind a layer unless it was told
            _note(layout.outputs, place, shape[0])
        elif part in ("diff", "weight") and axes >= 2:
            _note(layout.inputs, place, shape[1])
            _note(layout.outputs, place, shape[0])
        if part == "hada_w1_a" or part.startswith("lokr_"):
            factors.setdefault(name.module, {})[part] = shape
    _add_factored(layout, factors, turned, ranks)
    counted = Counter(rank for rank in ranks.values() if 0 < rank <= _HIGHEST_RANK)
    rank = counted.most_common(1)[0][0] if counted else None
    alpha_keys: dict[int | None, str] = {}
    for module, key in alphas.items():
        alpha_keys.setdefault(ranks.get(module), key)
    network_type = next((kind for part, kind in _TYPES_BY_PART if part in parts), None)
    return Network(
        network_type=network_type,
        rank=rank,
        rank_min=min(counted) if counted else None,
        rank_max=max(counted) if counted else None,
        alpha_keys=alpha_keys,
        text_encoders=tuple(sorted(layout.encoders)),
        control="control" in parts,
        embedding="embedding" in parts,
        layout=layout,
    )


def _place(layout: Layout, name: KeyName) -> str:
    """The pattern of a module, noted with its block and its text encoder."""
    place = name.pattern
    if name.encoder is not None:
        layout.encoders.add(name.encoder)
        return f"{name.encoder}:{place}"
    if name.block > layout.blocks.get(place, -2):
        layout.blocks[place] = name.block
    if name.depth > layout.depth:
        layout.depth = name.depth
    return place


def _note(widths: dict[str, set[int]], place: str, width: int) -> None:
    seen = widths.get(place)
    if seen is None:
        widths[place] = {width}
    else:
        seen.add(width)


def _add_factored(
    layout: Layout, factors: dict[str, dict[str, Shape]], turned: set[str], ranks: dict[str, int]
) -> None:
    """Widths of LoHa and LoKr modules, which need more than one tensor to tell them.

    LoHa: out is the first axis of `w1_a`, the second one with `t1`. LoKr: the weight is the
    Kronecker product w1 ⊗ w2, so widths multiply; a factor may itself be a product a·b of a rank.
    """
    for module, tensors in factors.items():
        pattern, _, _, encoder = place_of(module)
        place = f"{encoder}:{pattern}" if encoder else pattern
        out_of_hada = tensors.get("hada_w1_a")
        if out_of_hada is not None:
            if len(out_of_hada) >= 2:
                _note(layout.outputs, place, out_of_hada[1 if module in turned else 0])
            continue
        w1 = tensors.get("lokr_w1") or _product(tensors.get("lokr_w1_a"), tensors.get("lokr_w1_b"))
        w2 = tensors.get("lokr_w2")
        if w2 is None:
            a, b = tensors.get("lokr_w2_a"), tensors.get("lokr_w2_b")
            w2 = _product(a, b)
            if "lokr_t2" in tensors and a and b and len(a) == len(b) == 2:
                w2 = [a[1], b[1]]  # Tucker form: w2_a is (rank, out)
            if b:
                ranks[module] = b[0]
        if w1 and w2 and len(w1) >= 2 and len(w2) >= 2:
            _note(layout.outputs, place, w1[0] * w2[0])
            _note(layout.inputs, place, w1[1] * w2[1])


def _product(a: Shape | None, b: Shape | None) -> Shape | None:
    """The shape of a·b."""
    return [a[0], b[1]] if a and b and len(a) >= 2 and len(b) >= 2 else None
