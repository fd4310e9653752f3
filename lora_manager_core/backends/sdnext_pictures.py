"""What `/sdapi/v1/txt2img` sends back, read with suspicion and turned into finished PNGs.

After the host's `modules/processing.py` (`Processed.js`) and `modules/api/generate.py`: `images`
are base64 in the format the host saves in, `info` is a JSON string inside the JSON.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from lora_manager_core.backends.base import GeneratedImage, GenerationRequest, GenerationResult
from lora_manager_core.backends.infotext import PNG_KEY, png_bytes
from lora_manager_core.backends.previews import preview_jpeg
from lora_manager_core.common.lora_tokens import find_tokens
from lora_manager_core.errors import GenerationFailed

#: What Pillow may try on bytes from another machine: no format that runs a program.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "JPEG2000")
_EXACT_FORMATS = ("PNG", "TIFF")
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass(frozen=True, slots=True)
class Txt2ImgReply:
    """`images` as they came; `info` is empty when the host made nothing at all."""

    images: Sequence[str]
    info: Mapping[str, Any]

    @classmethod
    def read(cls, payload: Any) -> Txt2ImgReply:
        """Check the shape; raises GenerationFailed for anything but a txt2img answer."""
        images = payload.get("images") if isinstance(payload, dict) else None
        if not isinstance(payload, dict) or not isinstance(images, list | None):
            raise GenerationFailed("SD.Next's answer holds no pictures where they should be.")
        try:
            info = json.loads(payload.get("info") or "{}")
        except (TypeError, ValueError, RecursionError):
            info = None
        images = images or []
        if not isinstance(info, dict) or not all(isinstance(image, str) for image in images):
            raise GenerationFailed("SD.Next's answer cannot be read: `info` is not its own form.")
        return cls(images, info)

    @property
    def made_nothing(self) -> bool:
        """No pictures and not a word about them: the host has no model to make them with."""
        return not self.images and not self.info

    def is_unfinished(self, request: GenerationRequest) -> bool:
        """Whether the host stopped halfway, by an interrupt or an error; it does not say so.

        It then leaves pictures out, or puts a preview in and one infotext too many.
        """
        wanted = request.batch_size * request.n_iter
        return len(self.images) - self._first < wanted or len(self._texts) > len(self.images)

    def result(self, request: GenerationRequest) -> GenerationResult:
        """The finished pictures, each with its infotext inside."""
        first, seeds = self._first, _integers(self.info.get("all_seeds"))
        warnings = _missing_loras(request.prompt, self._texts)
        if request.denoising_strength is not None:
            warnings.append("denoising_strength has no effect without a picture to start from.")
        images: list[GeneratedImage] = []
        formats: set[str] = set()
        # a grid may stand in front, scripts may put pictures of their own behind
        for index in range(request.batch_size * request.n_iter):
            place = first + index
            text = self._texts[place] if place < len(self._texts) else None
            seed = seeds[index] if index < len(seeds) else request.seed
            image, kind = _decoded(self.images[place], text, seed)
            images.append(image)
            formats.add(kind)
        lossy = formats.difference(_EXACT_FORMATS)
        if lossy:
            warnings.append(
                f"SD.Next sent its pictures as {', '.join(sorted(lossy))}, which loses detail: set "
                "its image file format (`samples_format`) to png for exact ones."
            )
        size = (images[0].width, images[0].height)
        if size != (request.width, request.height):
            warnings.append(
                f"SD.Next made {size[0]}x{size[1]} of {request.width}x{request.height}."
            )
        return GenerationResult(tuple(images), self.info, tuple(warnings))

    @property
    def _first(self) -> int:
        first = self.info.get("index_of_first_image")
        return first if isinstance(first, int) and 0 <= first <= len(self.images) else 0

    @property
    def _texts(self) -> list[str]:
        texts = self.info.get("infotexts")
        return [str(text) for text in texts] if isinstance(texts, list) else []


def read_preview(payload: Any) -> bytes | None:
    """The unfinished picture in what `/sdapi/v1/progress` says, made small; None if there is none.

    Raises whatever Pillow does for a picture that cannot be read.
    """
    encoded = payload.get("current_image") if isinstance(payload, dict) else None
    if not isinstance(encoded, str) or not encoded:
        return None
    content = base64.b64decode(encoded.rpartition(",")[2], validate=True)
    with Image.open(BytesIO(content), formats=_FORMATS) as image:
        return preview_jpeg(image)


def _decoded(encoded: str, text: str | None, seed: int) -> tuple[GeneratedImage, str]:
    """One picture and the format it came in; `text` None takes the infotext out of the picture."""
    try:
        content = base64.b64decode(encoded.rpartition(",")[2], validate=True)
        with Image.open(BytesIO(content), formats=_FORMATS) as image:
            image.load()
            kind = image.format or ""
            own_text = image.info.get(PNG_KEY)
            if text is None:
                text = own_text if isinstance(own_text, str) else ""
            if kind == "PNG" and own_text == text:
                png = content
            else:
                plain = image if image.mode in _PNG_MODES else image.convert("RGB")
                png = png_bytes(plain, text)
            return GeneratedImage(png, text, seed, image.width, image.height), kind
    except (binascii.Error, *_BROKEN) as error:
        raise GenerationFailed(
            f"A picture that SD.Next sent cannot be read ({type(error).__name__}). Try again; if "
            "it stays so, set its image file format (`samples_format`) to png."
        ) from error


def _missing_loras(prompt: str, infotexts: Sequence[str]) -> list[str]:
    """A warning for each token of which the infotext does not say that it was applied.

    The host only logs an unknown name; its infotext lists the applied ones as "LoRA networks".
    """
    text = infotexts[-1].rpartition("\n")[2] if infotexts else ""
    found = re.search(r'LoRA networks: (?:"((?:[^"\\]|\\.)*)"|([^,]*))', text)
    listed = (found.group(1) or found.group(2) or "") if found else ""
    applied = set(listed.split(", "))
    names = dict.fromkeys(
        token.name
        for token in find_tokens(prompt)
        if token.weight != 0 or token.text_encoder_weight != 0
    )
    return [
        f"SD.Next did not apply the LoRA “{name}”: it has no file of that name, or the file does "
        "not fit its model."
        for name in names
        if name not in applied and not (", " in name and name in listed)
    ]


def _integers(values: Any) -> list[int]:
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, int)]
