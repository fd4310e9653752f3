"""Which names concern the library: models, what other programs keep beside them, and folders."""

from __future__ import annotations

import os

from lora_manager_core.common.paths import MODEL_SUFFIXES
from lora_manager_core.library.side_files import PREVIEW_ENDINGS, SOURCES

#: What browsers and download tools call a file that is not complete yet.
_TEMPORARY = (
    ".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".opdownload", ".aria2",
    ".!qb", ".!ut", ".bc!", ".filepart", ".incomplete", ".swp", "~",
)  # fmt: skip
_OURS = (*MODEL_SUFFIXES, ".txt", *(ending for ending, _ in SOURCES), *PREVIEW_ENDINGS)


def is_temporary(path: str) -> bool:
    """Whether it is a file that somebody is still writing under another name."""
    return path.lower().endswith(_TEMPORARY)


def may_concern(path: str) -> bool:
    """Whether a change there may change the catalogue: what has another ending may be a folder."""
    if is_temporary(path):
        return False
    return path.lower().endswith(_OURS) or not os.path.isfile(path)  # noqa: PTH113 - texts
