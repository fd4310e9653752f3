"""Files that are written whole or not at all, and removed as far as that goes."""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)

#: A file that is unfinished for longer than this was left by a process that died; folders are
#: filled one file after the other, and a job that was interrupted may come back to them.
_OLD_FILE_S = 3600.0
_OLD_FOLDER_S = 24 * 3600.0


def write_whole(path: Path, content: bytes, unfinished: Path) -> None:
    """Write a file so that its name stands for all of `content` or for what was there before.

    `unfinished` is a folder of the same volume for the file in the making; folders are made where
    missing. Raises OSError, and then leaves nothing behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished.mkdir(parents=True, exist_ok=True)
    part = unfinished / f"{uuid.uuid4().hex}.part"
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # some disks tell only now that they are full
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def remove_leftovers(unfinished: Path) -> None:
    """Remove what a dead process left in a folder for unfinished files."""
    if not unfinished.is_dir():
        return
    for path in unfinished.iterdir():
        with suppress(OSError):  # somebody else's to remove, or gone already
            age_s = time.time() - path.stat().st_mtime
            if path.is_dir():
                if age_s > _OLD_FOLDER_S:
                    shutil.rmtree(path)
            elif age_s > _OLD_FILE_S:
                path.unlink()


def remove_files(paths: Iterable[Path]) -> list[Path]:
    """Delete files; gives those that are still there, open in another program for example."""
    left = []
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s could not be deleted: %s", path, error.strerror)
            left.append(path)
    return left
