"""How news of a file meets what is stored of it.

What a person set is never overwritten, and nothing known is replaced by nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.writer import search_text
from lora_manager_core.db.models import Adapter
from lora_manager_core.errors import InvalidRequest
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.walk import find_file

#: Columns that follow the file whatever was known before.
_ALWAYS = frozenset(
    (
        "file_path",
        "file_key",
        "folder",
        "file_state",
        "file_problem",
        "file_size",
        "file_mtime_ns",
        "side_signature",
        "primary_file_name",
        "primary_file_size_kb",
        "primary_file_local_path",
        "preview_path",
        "prompt_name",
        "prompt_name_problem",
        "last_ingested_at",
    )
)
#: Columns that name the contents: a replaced file makes what was known of the old one wrong.
_OF_CONTENTS = ("primary_file_sha256", "autov2")


def describe_single_file(library_roots: Callable[[], Sequence[Path]], path: Path) -> dict[str, Any]:
    """The columns of one file of the library, as a scan would fill them."""
    try:
        found = find_file(path, library_roots())
    except OSError as error:
        raise InvalidRequest(
            f"The model file cannot be read: {error.strerror or error}."
        ) from error
    columns = columns_from_file(found)
    del columns["stem"]
    return columns


def merge_columns(stored: Adapter, news: Mapping[str, Any]) -> dict[str, Any]:
    """What to change on a record whose file has news: all that is not a person's or poorer."""
    edited = set(stored.edited_fields)
    replaced = (stored.file_size, stored.file_mtime_ns) != (
        news["file_size"],
        news["file_mtime_ns"],
    )
    change: dict[str, Any] = {}
    for column, value in news.items():
        if column in ("stem", "version", "weight") or column in edited:
            continue
        if column == "file_sha256_state" or column in _OF_CONTENTS:
            if replaced:
                change[column] = value
        elif column in _ALWAYS or value not in (None, "", [], {}):
            change[column] = value
    if "base_model" in edited:
        change.pop("base_model_source", None)
    change["search_text"] = search_text(
        {
            name: change.get(name, getattr(stored, name))
            for name in (
                "name",
                "version",
                "author_username",
                "description",
                "notes",
                "tags",
                "trained_words",
                "triggers",
            )
        }
    )
    return change
