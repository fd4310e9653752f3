"""Tells what goes wrong with a file as an error of ours, which names it and says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_manager_core.errors import DiskFull, StorageFailed

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Tell what goes wrong with a file as an error of ours that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"The disk is full: {path} could not be written. Free some space and try again."
            ) from error
        if isinstance(error, PermissionError):
            raise StorageFailed(
                f"{path} cannot be written or moved: it is in use by another program, or this "
                "user may not do so. Nothing was changed."
            ) from error
        raise StorageFailed(
            f"{path} cannot be written or moved: {error.strerror or error}."
        ) from error
