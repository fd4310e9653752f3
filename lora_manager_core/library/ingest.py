"""From a file on disk to the columns of its record, and how news of a file meets what is stored.

What a person set is never overwritten, and nothing known is replaced by nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.repository import distinct_words, search_text
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import Adapter
from lora_manager_core.errors import InvalidRequest
from lora_manager_core.library.facts import AdapterFacts, read_facts
from lora_manager_core.library.side_files import SideFacts, read_side_files
from lora_manager_core.library.walk import FoundFile, find_file

#: Dataset tags kept in the record; the header itself has them all.
_KEPT_TAGS = 30
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


def columns_from_file(found: FoundFile) -> dict[str, Any]:
    """All columns a file and its side files fill, plus `stem`, from which a record is named."""
    folder, name = os.path.split(found.path)
    side = read_side_files(folder, found.stem, found.neighbours)
    facts = read_facts(found.path, side, found.folder)
    readable = facts.problem is None
    return {
        "stem": found.stem,
        "file_path": found.path,
        "file_key": found.key,
        "folder": found.folder,
        "file_state": "present",
        "file_problem": facts.problem,
        "file_size": found.size,
        "file_mtime_ns": found.mtime_ns,
        "side_signature": found.side_signature,
        "primary_file_name": name,
        "primary_file_size_kb": round(found.size / 1024, 3),
        "primary_file_local_path": found.path,
        "primary_file_sha256": None,
        "primary_file_download_url": side.download_url,
        "autov2": None,
        "file_sha256_state": "pending",
        "preview_path": os.path.join(folder, side.preview_path)  # noqa: PTH118 - per file of a scan
        if side.preview_path
        else None,
        "json_file_path": side.json_file_path,
        "json_file_mtime": None
        if side.json_file_mtime_ns is None
        else side.json_file_mtime_ns / 1e9,
        "json_file_size": side.json_file_size,
        "version": None,
        "canonical_version_name": _canonical(side),
        "description": facts.description,
        "author_username": _short(facts.author, 200),
        "published_at": side.published_at,
        "tags": distinct_words(facts.tags),
        "trained_words": distinct_words(facts.trained_words),
        "triggers": [],
        "weight": 1.0 if side.preferred_weight is None else side.preferred_weight,
        "nsfw_level": side.nsfw_level,
        "activation_text": side.activation_text,
        "notes": side.notes,
        "negative_prompt": side.negative_prompt,
        "stats": side.stats or None,
        "extra": _extra(facts, side) or None,
        "sd_version": facts.base_model,
        "supports_generation": readable and facts.network_type is not None,
        "network_type": facts.network_type,
        "base_model": facts.base_model,
        "base_model_source": facts.base_model_source,
        "rank": facts.rank,
        "alpha": facts.alpha,
        "last_ingested_at": utc_now(),
    }


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


def _canonical(side: SideFacts) -> str | None:
    return _short(" – ".join(part for part in (side.name, side.version_name) if part) or None, 500)


def _extra(facts: AdapterFacts, side: SideFacts) -> dict[str, Any]:
    extra: dict[str, Any] = dict(side.extra)
    details: dict[str, Any] = {
        "title": facts.title,
        "resolution": facts.resolution,
        "training": facts.training,
        "tag_frequency": dict(islice(facts.tag_frequency.items(), _KEPT_TAGS)),
        "text_encoders": list(facts.text_encoders),
        "base_model_confidence": round(facts.base_model_confidence, 2),
        "model_hash": facts.model_hash,
        "side_file_problems": list(side.problems),
    }
    if facts.rank_min != facts.rank_max:
        details["rank_min"], details["rank_max"] = facts.rank_min, facts.rank_max
    if facts.control:
        details["control"] = True
    extra.update((key, value) for key, value in details.items() if value)
    return extra


def _short(text: str | None, length: int) -> str | None:
    return text[:length] if text else None
