"""Real safetensors files, small: what a trainer writes, without the training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

_LAYER = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


def write_lora(
    path: Path, metadata: Mapping[str, str] | None = None, *, width: int = 768, seed: int = 0
) -> Path:
    """A kohya LoRA of rank 4 with one layer; `width` 768 is that of SD 1.5, 2048 of SDXL."""
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{_LAYER}.alpha": np.array(2.0, np.float32),
        f"{_LAYER}.lora_down.weight": random.standard_normal((4, width)).astype(np.float16),
        f"{_LAYER}.lora_up.weight": random.standard_normal((320, 4)).astype(np.float16),
    }
    save_file(tensors, path, dict(metadata or {}))
    return path


def touch_later(path: Path) -> None:
    """Move a file's time stamp, as a new version of it would."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
