"""The picture inside a model file: `modelspec.thumbnail`, a data URI in the header's metadata.

Source: Stability AI's ModelSpec 1.0.0 (`modelspec.thumbnail`, a `data:image/jpeg;base64,…` URI).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from pathlib import Path

from lora_manager_core.errors import NotFound
from lora_manager_core.library.previews.kinds import MAX_BYTES
from lora_manager_core.library.safetensors_header import HeaderUnreadable, read_header


def embedded_picture(model: Path) -> bytes:
    """The picture's bytes, as they are.

    Raises:
        NotFound: the file holds none that can be read.
    """
    try:
        uri = read_header(model).metadata.get("modelspec.thumbnail", "")
    except HeaderUnreadable as error:
        raise NotFound(f"The model file cannot be read: {error.reason}.") from error
    head, comma, encoded = uri.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise NotFound("The picture inside the model file is in a form nobody can show.")
    if len(encoded) > MAX_BYTES * 4 // 3 + 4:
        raise NotFound("The picture inside the model file is larger than 20 MiB.")
    try:
        return b64decode(encoded)
    except (binascii.Error, ValueError) as error:
        raise NotFound("The picture inside the model file is damaged.") from error
