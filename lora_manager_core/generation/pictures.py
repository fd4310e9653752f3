"""Finished pictures as files: written whole or not at all, below the output folder."""

from __future__ import annotations

import base64
import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_manager_core.backends.base import GeneratedImage
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.files import remove_files, remove_leftovers, write_whole
from lora_manager_core.common.paths import require_inside
from lora_manager_core.errors import GenerationFailed, UnsafePath

#: A folder of the output folder for what is not finished yet.
_UNFINISHED = ".unfinished"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture in its file, and what is known of it without opening that."""

    path: Path
    width: int
    height: int
    seed: int
    infotext: str


class PictureFolder:
    """The output folder; one sub-folder per day."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unfinished = folder / _UNFINISHED

    @property
    def folder(self) -> Path:
        """The output folder."""
        return self._folder

    def place(self, day: str, job_id: str, number: int) -> Path:
        """Where a picture belongs; `day` is such as `2026-01-31`."""
        return self._folder / day / f"{job_id}-{number}.png"

    def store(self, job_id: str, images: Sequence[GeneratedImage]) -> list[StoredPicture]:
        """Write all pictures of a job; if one cannot be written, none stays.

        Raises:
            GenerationFailed: the disk is full or the folder cannot be written.
        """
        stored: list[StoredPicture] = []
        try:
            for number, image in enumerate(images):
                stored.append(self.store_one(job_id, number, image))
        except GenerationFailed:
            self.remove([picture.path for picture in stored])
            raise
        return stored

    def store_one(self, job_id: str, number: int, image: GeneratedImage) -> StoredPicture:
        """Write one picture of a job; raises as `store` does."""
        path = self.place(utc_now()[:10], job_id, number)
        with _told_as_failure():
            write_whole(path, image.png, self._unfinished)
        return StoredPicture(path, image.width, image.height, image.seed, image.infotext)

    def keep(self, job_id: str, number: int, png: bytes) -> None:
        """Keep a picture of a job that is to have more, for a later attempt too.

        Raises:
            GenerationFailed: the disk is full or the folder cannot be written.
        """
        with _told_as_failure():
            write_whole(self._kept(job_id, number), png, self._unfinished)

    def find_kept(self, job_id: str, number: int) -> Path | None:
        """A picture that was kept, by this attempt or an earlier one."""
        path = self._kept(job_id, number)
        return path if path.is_file() else None

    def publish_kept(self, job_id: str, count: int) -> list[Path]:
        """Give the kept pictures 0 to `count` - 1 their place; all of them or none.

        Raises:
            GenerationFailed: the folder cannot be written.
        """
        day = utc_now()[:10]
        moved: list[Path] = []
        with _told_as_failure():
            try:
                for number in range(count):
                    path = self.place(day, job_id, number)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._kept(job_id, number).replace(path)
                    moved.append(path)
            except OSError:
                self.remove(moved)
                raise
        self.discard_kept(job_id)
        return moved

    def discard_kept(self, job_id: str) -> None:
        """Remove what was kept of a job."""
        shutil.rmtree(self._unfinished / job_id, ignore_errors=True)

    def read(self, path: str) -> Path:
        """The file of a stored picture, checked to lie in the output folder."""
        return require_inside(path, [self._folder], "The picture")

    def show(self, path: str, form: Literal["base64", "file_path"]) -> str | None:
        """A stored picture as callers ask for it; None if its file is gone."""
        file = self.read(path)
        if not file.is_file():
            return None
        return base64.b64encode(file.read_bytes()).decode() if form == "base64" else str(file)

    def remove(self, paths: Sequence[Path]) -> list[Path]:
        """Delete stored pictures; gives those that are still there.

        A path beyond the output folder is left alone: it was stored under other settings.
        """
        inside, left = [], []
        for path in paths:
            try:
                inside.append(self.read(str(path)))
            except UnsafePath:
                left.append(path)
        return left + remove_files(inside)

    def remove_leftovers(self) -> None:
        """Remove what a dead process left unfinished."""
        remove_leftovers(self._unfinished)

    def _kept(self, job_id: str, number: int) -> Path:
        return self._unfinished / job_id / f"{number}.png"


@contextmanager
def _told_as_failure() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise GenerationFailed(
                "The disk is full; the picture could not be stored. Free some space."
            ) from error
        raise GenerationFailed(
            f"The picture could not be stored in the output folder: {error.strerror}."
        ) from error
