"""Finished pictures as files: written whole or not at all, below the output folder."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from lora_manager_core.backends.base import GeneratedImage
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.paths import require_inside
from lora_manager_core.errors import GenerationFailed


class PictureFolder:
    """The output folder; one sub-folder per day."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self, job_id: str, images: Sequence[GeneratedImage]) -> list[Path]:
        """Write all pictures of a job; if one cannot be written, none stays.

        Raises:
            GenerationFailed: the disk is full or the folder cannot be written.
        """
        written: list[Path] = []
        try:
            day = self._folder / utc_now()[:10]
            day.mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                path = day / f"{job_id}-{number}.png"
                part = path.with_suffix(".part")
                written += [part, path]
                part.write_bytes(image.png)
                part.replace(path)
        except OSError as error:
            for path in written:
                path.unlink(missing_ok=True)
            if error.errno == errno.ENOSPC:
                raise GenerationFailed(
                    "The disk is full; the picture could not be stored. Free some space."
                ) from error
            raise GenerationFailed(
                f"The picture could not be stored in the output folder: {error.strerror}."
            ) from error
        return written[1::2]

    def read(self, path: str) -> Path:
        """The file of a stored picture, checked to lie in the output folder."""
        return require_inside(path, [self._folder], "The picture")

    @staticmethod
    def remove(paths: Sequence[Path]) -> None:
        """Delete stored pictures."""
        for path in paths:
            path.unlink(missing_ok=True)
