"""The text a picture carries about how it was made, in SD.Next's form, and writing it into a PNG.

Form and order after the host (`modules/processing_info.py`, `create_infotext`; quoting after
`modules/infotext.py`), so that its "Process" tab and other programs read our pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lora_manager_core.backends.base import GenerationRequest

#: The PNG text chunk in which the host and every other program keep the infotext.
PNG_KEY = "parameters"
APP = "LoRA Manager"


def infotext(
    request: GenerationRequest,
    *,
    seed: int,
    width: int,
    height: int,
    model: str | None = None,
    pipeline: str | None = None,
    scheduler: str | None = None,
    loras: Sequence[str] = (),
    index: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> str:
    """Prompt (tags as typed), negative prompt and one line of parameters for picture `index`.

    `width`, `height` and `seed` are what was really used; `loras` are the names applied.
    """
    several = request.n_iter > 1 or request.batch_size > 1
    parameters: dict[str, Any] = {
        "Steps": request.steps,
        "Size": f"{width}x{height}",
        "Sampler": request.sampler_name if request.sampler_name.lower() != "default" else None,
        "Scheduler": scheduler,
        "Seed": seed,
        "CFG scale": request.cfg_scale,
        "Batch": f"{request.n_iter}x{request.batch_size}" if several else None,
        "App": APP,
        "Pipeline": pipeline,
        "Operations": "txt2img",
        "Model": model.replace(",", "").replace(":", "") if model else None,
        "Index": f"{index // request.batch_size + 1}x{index + 1}" if several else None,
        "LoRA networks": ", ".join(loras),
        **(extra or {}),
    }
    line = parameter_line(parameters)
    return f"{request.prompt}\nNegative prompt: {request.negative_prompt}\n{line}".strip()


def parameter_line(parameters: Mapping[str, Any]) -> str:
    """The parameters as the last line of an infotext; those without a value are left out."""
    return ", ".join(
        f"{key}: {_quote(value)}" for key, value in parameters.items() if value not in (None, "")
    )


def _quote(value: object) -> str:
    """A value that holds a separator becomes a JSON string."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ",\n:") else text


def png_bytes(image: Image.Image, text: str) -> bytes:
    """`image` as PNG with `text` as its `parameters` chunk (tEXt, or iTXt beyond Latin-1)."""
    chunks = PngInfo()
    chunks.add_text(PNG_KEY, text)
    buffer = BytesIO()
    image.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def read_infotext(png: bytes) -> str | None:
    """The `parameters` chunk of a PNG, None if it has none."""
    with Image.open(BytesIO(png)) as image:
        image.load()
        text = image.info.get(PNG_KEY)
    return text if isinstance(text, str) else None
