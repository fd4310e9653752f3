"""Small copies of pictures, made when first asked for and kept beside the database."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from lora_manager_core.common.files import remove_files, remove_leftovers, write_whole
from lora_manager_core.errors import Busy, Unprocessable

MEDIA_TYPE = "image/webp"
#: Not `.webp`: hosts serve every picture below their data folder to whoever asks.
_SUFFIX = ".thumbnail"
#: Pictures decoded at once: a page of results asks for many, and each is held in memory whole.
_AT_ONCE = 2
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


class ThumbnailFolder:
    """The folder of thumbnails; a sub-folder for each beginning of a job's id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / ".unfinished"
        self._making = threading.BoundedSemaphore(_AT_ONCE)

    def get(self, job_id: str, number: int, size: int, picture: Path) -> Path:
        """The WebP file of a picture with its longer side at `size` pixels, or as it is if smaller.

        Raises:
            Unprocessable: the picture cannot be read, or is too large to be decoded safely.
            Busy: the thumbnail cannot be stored now.
        """
        path = self._of(job_id) / f"{job_id}-{number}-{size}{_SUFFIX}"
        if path.is_file():
            return path
        with self._making:
            if not path.is_file():
                self._store(path, _shrunk(picture, size))
        return path

    def remove(self, job_ids: Sequence[str]) -> None:
        """Delete the thumbnails of jobs."""
        for job_id in job_ids:
            remove_files(self._of(job_id).glob(f"{job_id}-*{_SUFFIX}"))

    def remove_leftovers(self) -> None:
        """Remove what a dead process left unfinished."""
        remove_leftovers(self._unfinished)

    def _of(self, job_id: str) -> Path:
        return self._folder / job_id[:2]

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


def _shrunk(picture: Path, size: int) -> bytes:
    try:
        with Image.open(picture, formats=("PNG",)) as image:
            shown = image if image.mode in ("RGB", "RGBA") else image.convert("RGB")
            shown.thumbnail((size, size))
            content = BytesIO()
            shown.save(content, "WEBP", quality=82)
    except _UNREADABLE as error:
        raise Unprocessable(
            f"The picture cannot be made smaller ({type(error).__name__}); open it as it is."
        ) from error
    return content.getvalue()
