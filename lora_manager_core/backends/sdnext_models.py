"""Which base model an SD.Next checkpoint is, from what `GET /sdapi/v1/checkpoint` says.

`type` and `class` after the host's `modules/modeldata.py` (`get_model_type`); the labels are those
of `common.base_labels`.
"""

from __future__ import annotations

import re

_BY_TYPE = {
    "sdxl": "SDXL",
    "sd3": "SD 3",
    "f1": "Flux.1",
    "chroma": "Chroma",
    "qwen": "Qwen-Image",
    "zimage": "Z-Image",
    "lumina2": "Lumina 2",
    "wanai": "Wan",
    "anima": "Anima",
    "krea2": "Krea 2",
    "hunyuanvideo": "Hunyuan Video",
    "hunyuanimage": "Hunyuan Image",
    "h1": "HiDream",
    "ltxvideo": "LTX",
    "auraflow": "AuraFlow",
    "pixartsigma": "PixArt",
    "pixartalpha": "PixArt",
    "kolors": "Kolors",
}

# Stable Diffusion 1 and 2 share their pipeline class; only the file's name tells them apart.
_SD_2 = re.compile(
    r"stable-diffusion-v?2"
    r"|(?<![a-z0-9])(?:v2-[01]_(?:512|768)|sd[-_ ]?v?2(?:[-._]?[01])?(?![0-9]))",
    re.IGNORECASE,
)


def architecture_label(model_type: str | None, pipeline: str, name: str) -> str | None:
    """The base-model label, None for models we have no label for.

    Says no more than is known: a Flux.2 Klein whose size is not in its name is "Flux.2".
    """
    kind = (model_type or "").lower()
    if kind == "sd":
        return "SD 2.x" if _SD_2.search(name) else "SD 1.5"
    if kind == "f2":
        return _flux_2(pipeline, name.lower())
    return _BY_TYPE.get(kind)


def _flux_2(pipeline: str, name: str) -> str:
    if "Klein" not in pipeline:
        return "Flux.2 Dev"
    size = next((size for size in ("4b", "9b") if size in name), None)
    return f"Flux.2 Klein {size.upper()}" if size else "Flux.2"
