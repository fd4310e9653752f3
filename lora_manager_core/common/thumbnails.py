"""Small copies of pictures, made when first asked for and kept beside the database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

from lora_manager_core.common.files import remove_files, remove_leftovers, write_whole
from lora_manager_core.errors import Busy, Unprocessable

MEDIA_TYPE = "image/webp"
#: Not `.webp`: hosts serve every picture below their data folder to whoever asks.
_SUFFIX = ".thumbnail"
#: Pictures decoded at once: a page of results asks for many, and each is held in memory whole.
_AT_ONCE = 2
#: Kinds that are decoded: those that pictures have here, none that runs code or opens other files.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF")

#: Opens a picture: a file, or what lies inside another one. May raise OSError.
OpenPicture = Callable[[], IO[bytes]]


class ThumbnailFolder:
    """The folder of thumbnails; a sub-folder for each beginning of an owner's id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / ".unfinished"
        self._making = threading.BoundedSemaphore(_AT_ONCE)

    def get(self, owner_id: str, mark: str | int, size: int, picture: OpenPicture) -> Path:
        """The WebP file of a picture with its longer side at `size` pixels, or as it is if smaller.

        `mark` tells the pictures of one owner apart, and one state of a picture from the next. Of
        one that moves the first frame is taken.

        Raises:
            Unprocessable: the picture cannot be read, or is too large to be decoded safely.
            Busy: the thumbnail cannot be stored now.
        """
        path = self._of(owner_id) / f"{owner_id}-{mark}-{size}{_SUFFIX}"
        if path.is_file():
            return path
        with self._making:
            if not path.is_file():
                self._store(path, _shrunk(picture, size))
        return path

    def remove(self, owner_ids: Sequence[str]) -> None:
        """Delete the thumbnails of owners."""
        for owner_id in owner_ids:
            remove_files(self._of(owner_id).glob(f"{owner_id}-*{_SUFFIX}"))

    def remove_leftovers(self) -> None:
        """Remove what a dead process left unfinished."""
        remove_leftovers(self._unfinished)

    def _of(self, owner_id: str) -> Path:
        return self._folder / owner_id[:2]

    def _store(self, path: Path, content: bytes) -> None:
        try:
            write_whole(path, content, self._unfinished)
        except OSError as error:
            # Windows does not replace a file that somebody reads: another process was first
            if not path.is_file():
                raise Busy(
                    f"The thumbnail could not be stored: {error.strerror}. "
                    "Free some space, or look at the picture itself."
                ) from error


def _shrunk(picture: OpenPicture, size: int) -> bytes:
    from PIL import Image, ImageOps

    try:
        with picture() as file, Image.open(file, formats=_FORMATS) as image:
            image.draft("RGB", (size, size))  # of a JPEG, only as much is decoded as is needed
            upright = ImageOps.exif_transpose(image)
            shown = upright
            if upright.mode not in ("RGB", "RGBA"):
                shown = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
            shown.thumbnail((size, size))
            content = BytesIO()
            shown.save(content, "WEBP", quality=82)
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise Unprocessable(
            f"The picture cannot be made smaller ({type(error).__name__}); open it as it is."
        ) from error
    return content.getvalue()
