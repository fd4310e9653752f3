"""From the tensors of one module to its change: LoRA, LoCon, LoHa, LoKr, and whole differences.

Formulas: LoRA (arXiv 2106.09685), LyCORIS (arXiv 2309.14859; layouts in `lycoris/modules/`). What
needs the base model's weights (OFT, BOFT, IA3, GLoRA) is refused; DoRA's magnitudes need them too,
so of a DoRA its low-rank part alone is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lora_manager_core.weights.delta import Delta, Dense, Kronecker, LowRank
from lora_manager_core.weights.problems import WeightsUnreadable
from lora_manager_core.weights.tensors import Floats

#: Kinds whose effect depends on the weights of the base model, by the part that proves them.
NEEDS_BASE = {
    "oft": "OFT", "oft_blocks": "OFT", "boft": "BOFT", "ia3": "(IA)³",
    "glora_a": "GLoRA", "glora_b": "GLoRA",
    "tlora": "T-LoRA",
}  # fmt: skip

#: Part → tensor of one module, read when asked for.
Read = Callable[[str], Floats]
#: The scale of a module of that rank.
ScaleOf = Callable[[int], float]

# Beyond this many columns a product of two products is larger than the matrix it stands for.
_WORTH_FACTORS = 4


def change_of(parts: Mapping[str, str], read: Read, scale_of: ScaleOf) -> Delta | None:
    """The change that the tensors of one module make; None where they hold no matrix.

    Raises:
        WeightsUnreadable: tensors of the module are missing, or do not fit each other.
    """
    try:
        if "down" in parts or "up" in parts:
            return _lora(parts, read, scale_of)
        if "hada_w1_a" in parts:
            return _loha(parts, read, scale_of)
        if "lokr_w1" in parts or "lokr_w1_a" in parts:
            return _lokr(parts, read, scale_of)
        if "diff" in parts:
            whole = read("diff")
            return Dense(_flat(whole), 1.0) if whole.ndim > 1 and whole.size else None
    except KeyError as error:
        raise WeightsUnreadable(f"a module lacks its tensor “{error.args[0]}”") from error
    except (ValueError, IndexError, ZeroDivisionError) as error:
        if isinstance(error, WeightsUnreadable):
            raise
        raise WeightsUnreadable("the shapes of a module's tensors do not fit each other") from error
    return None


def _flat(weight: Floats) -> Floats:
    return weight.reshape(weight.shape[0], -1)


def _lora(parts: Mapping[str, str], read: Read, scale_of: ScaleOf) -> LowRank:
    down, up = read("down"), read("up")
    rank = down.shape[0]
    matrix, columns = _flat(down), _flat(up)
    if "mid" in parts:  # a convolution as three: in → r, r → r with the kernel, r → out
        middle = read("mid")
        matrix = np.einsum("mnk,ni->mik", middle.reshape(*middle.shape[:2], -1), matrix)
        matrix = np.ascontiguousarray(_flat(matrix))
    elif columns.shape[1] != rank and up.ndim > 2:
        raise WeightsUnreadable("a convolution has its kernel in the upper factor")
    if columns.shape[1] != matrix.shape[0]:
        raise ValueError
    return LowRank(columns, matrix, scale_of(rank))


def _loha(parts: Mapping[str, str], read: Read, scale_of: ScaleOf) -> Delta:
    """(w1_a w1_b) ∘ (w2_a w2_b), a product of rank r²: columns and rows multiplied in pairs."""
    a1, b1, a2, b2 = (read(f"hada_{part}") for part in ("w1_a", "w1_b", "w2_a", "w2_b"))
    rank = b1.shape[0]
    if "hada_t1" in parts:
        product = _tucker(read("hada_t1"), a1, b1) * _tucker(read("hada_t2"), a2, b2)
        return Dense(product, scale_of(rank))
    a1, b1, a2, b2 = (_flat(factor) for factor in (a1, b1, a2, b2))
    columns = a1.shape[1] * a2.shape[1]
    if columns * _WORTH_FACTORS > min(len(a1), b1.shape[1]):
        return Dense((a1 @ b1) * (a2 @ b2), scale_of(rank))
    up = (a1[:, :, None] * a2[:, None, :]).reshape(len(a1), columns)
    down = (b1[:, None, :] * b2[None, :, :]).reshape(columns, b1.shape[1])
    return LowRank(up, down, scale_of(rank))


def _lokr(parts: Mapping[str, str], read: Read, scale_of: ScaleOf) -> Kronecker:
    """w1 ⊗ w2, each of them whole or itself a product; whole ones are not scaled."""
    rank = None
    if "lokr_w1" in parts:
        outer = read("lokr_w1")
    else:
        low = read("lokr_w1_b")
        outer, rank = read("lokr_w1_a") @ low, low.shape[0]
    if "lokr_w2" in parts:
        inner = _flat(read("lokr_w2"))
    else:
        first, second = read("lokr_w2_a"), read("lokr_w2_b")
        rank = second.shape[0]
        if "lokr_t2" in parts:
            inner = _tucker(read("lokr_t2"), first, second)
        else:
            inner = _flat(first) @ _flat(second)
    return Kronecker(outer, inner, 1.0 if rank is None else scale_of(rank))


def _tucker(core: Floats, outs: Floats, ins: Floats) -> Floats:
    """core (r, s, …) with outs (r, out) and ins (s, in), as (out, in·…)."""
    kernel = core.reshape(*core.shape[:2], -1)
    left = np.einsum("rsk,ro->osk", kernel, outs)
    product: Floats = np.einsum("osk,si->oik", left, ins)
    return np.ascontiguousarray(_flat(product))
