"""Adapter files of every form with the change they make, each computed the plain way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

Floats = NDArray[np.float64]


@dataclass
class AdapterFile:
    """Tensors to be written, and the whole change of each canonical module they make."""

    tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    changes: dict[str, Floats] = field(default_factory=dict)

    def add(self, module: str, name: str, form: str, random: np.random.Generator) -> None:
        """A module of some form, 12 × 10 (a convolution: 12 × 10 × 3 × 3)."""
        parts, change = FORMS[form](random)
        self.tensors |= {f"{module}.{part}": tensor for part, tensor in parts.items()}
        self.changes[name] = change.reshape(len(change), -1)

    def write(self, path: Path, metadata: Mapping[str, str] | None = None) -> Path:
        """Write it as a safetensors file."""
        tensors = {key: np.ascontiguousarray(t, np.float32) for key, t in self.tensors.items()}
        save_file(tensors, path, dict(metadata) if metadata else None)
        return path


OUT, IN, RANK = 12, 10, 2
Parts = tuple[dict[str, NDArray[np.float32]], Floats]


def _normal(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return random.standard_normal(shape).astype(np.float32)


def _lora(random: np.random.Generator) -> Parts:
    down, up = _normal(random, RANK, IN), _normal(random, OUT, RANK)
    parts = {"lora_down.weight": down, "lora_up.weight": up, "alpha": np.array(1.0, np.float32)}
    return parts, 0.5 * up.astype(float) @ down.astype(float)


def _locon(random: np.random.Generator) -> Parts:
    down, up = _normal(random, RANK, IN, 3, 3), _normal(random, OUT, RANK, 1, 1)
    change = np.einsum("or,rikl->oikl", up[:, :, 0, 0].astype(float), down.astype(float))
    return {"lora_down.weight": down, "lora_up.weight": up}, change


def _tucker(random: np.random.Generator) -> Parts:
    down, up = _normal(random, RANK, IN, 1, 1), _normal(random, OUT, RANK, 1, 1)
    mid = _normal(random, RANK, RANK, 3, 3)
    change = np.einsum(
        "om,mnkl,ni->oikl", *(t.astype(float) for t in (up[:, :, 0, 0], mid, down[:, :, 0, 0]))
    )
    return {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid}, change


def _loha(random: np.random.Generator, rank: int = RANK) -> Parts:
    a1, a2 = _normal(random, OUT, rank), _normal(random, OUT, rank)
    b1, b2 = _normal(random, rank, IN), _normal(random, rank, IN)
    parts = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2,
             "alpha": np.array(3.0, np.float32)}  # fmt: skip
    change = (a1.astype(float) @ b1.astype(float)) * (a2.astype(float) @ b2.astype(float))
    return parts, 3.0 / rank * change


def _loha_of_rank_1(random: np.random.Generator) -> Parts:
    return _loha(random, 1)


def _loha_tucker(random: np.random.Generator) -> Parts:
    parts = {}
    change = np.ones((OUT, IN, 3, 3))
    for number in (1, 2):
        a, b = _normal(random, RANK, OUT), _normal(random, RANK, IN)
        core = _normal(random, RANK, RANK, 3, 3)
        parts |= {f"hada_t{number}": core, f"hada_w{number}_a": a, f"hada_w{number}_b": b}
        change *= np.einsum("ijkl,jr,ip->prkl", *(t.astype(float) for t in (core, b, a)))
    return parts, change


def _lokr(random: np.random.Generator) -> Parts:
    outer, inner = _normal(random, 3, 2), _normal(random, 4, 5)
    parts = {"lokr_w1": outer, "lokr_w2": inner, "alpha": np.array(9.0, np.float32)}
    return parts, np.kron(outer.astype(float), inner.astype(float))


def _lokr_factored(random: np.random.Generator) -> Parts:
    outer = _normal(random, 3, 2)
    a, b = _normal(random, 4, RANK), _normal(random, RANK, 5)
    parts = {"lokr_w1": outer, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": np.array(1.0, np.float32)}
    return parts, 0.5 * np.kron(outer.astype(float), a.astype(float) @ b.astype(float))


def _lokr_convolution(random: np.random.Generator) -> Parts:
    outer, inner = _normal(random, 3, 2), _normal(random, 4, 5, 3, 3)
    whole = np.kron(outer[:, :, None, None].astype(float), inner.astype(float))
    return {"lokr_w1": outer, "lokr_w2": inner}, whole


def _lokr_tucker(random: np.random.Generator) -> Parts:
    outer = _normal(random, 3, 2)
    core, a, b = (
        _normal(random, RANK, RANK, 3, 3),
        _normal(random, RANK, 4),
        _normal(random, RANK, 5),
    )
    inner = np.einsum("ijkl,jr,ip->prkl", *(t.astype(float) for t in (core, b, a)))
    parts = {"lokr_w1": outer, "lokr_t2": core, "lokr_w2_a": a, "lokr_w2_b": b}
    return parts, np.kron(outer[:, :, None, None].astype(float), inner)


def _full(random: np.random.Generator) -> Parts:
    whole = _normal(random, OUT, IN)
    return {"diff": whole, "diff_b": _normal(random, OUT)}, whole.astype(float)


def _peft(random: np.random.Generator) -> Parts:
    down, up = _normal(random, RANK, IN), _normal(random, OUT, RANK)
    parts = {"lora_A.default.weight": down, "lora_B.default.weight": up}
    return parts, up.astype(float) @ down.astype(float)


FORMS = {
    "lora": _lora,
    "peft": _peft,
    "locon": _locon,
    "locon with a core": _tucker,
    "loha": _loha,
    "loha of rank 1": _loha_of_rank_1,
    "loha with cores": _loha_tucker,
    "lokr": _lokr,
    "lokr factored": _lokr_factored,
    "lokr convolution": _lokr_convolution,
    "lokr with a core": _lokr_tucker,
    "full": _full,
}
