"""Unfinished pictures for those who look: how often one is made, and how small it is sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from io import BytesIO

from PIL import Image

from lora_manager_core.backends.base import PreviewsWanted
from lora_manager_core.errors import LoraManagerError

_log = logging.getLogger(__name__)

#: The longer side of a preview at most, in pixels: about 20 kB as JPEG.
_LONGEST_SIDE = 512
_QUALITY = 75

#: What a pipeline, another machine or a damaged picture may raise (torch's own are RuntimeErrors).
_FAILURES = (
    AttributeError,
    LookupError,
    LoraManagerError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
)

#: Makes an unfinished picture as encoded image bytes; None where there is none just now.
MakePreview = Callable[[], bytes | None]


class Previews:
    """Has a preview made at most every `interval_s`, and only while somebody looks."""

    def __init__(self, wanted: PreviewsWanted, interval_s: float) -> None:
        self._wanted = wanted
        self._interval_s = interval_s
        self._made_at = float("-inf")

    def next(self, make: MakePreview) -> bytes | None:
        """A new preview if it is time for one.

        A failure to make one is no preview: the picture itself goes on.
        """
        now = time.monotonic()
        if now - self._made_at < self._interval_s or not self._wanted():
            return None
        self._made_at = now
        try:
            return make()
        except _FAILURES:
            _log.debug("no preview came of it", exc_info=True)
            return None


def preview_jpeg(image: Image.Image) -> bytes:
    """A picture as a small JPEG."""
    small = image.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = BytesIO()
    small.save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()
