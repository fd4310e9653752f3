"""What one file and its side files tell, as the columns of a record.

Imports no database: the helper processes of `reading` use it, and must start fast.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from typing import Any

from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.lora_tokens import MAX_WEIGHT
from lora_manager_core.common.words import distinct_words
from lora_manager_core.library.facts import AdapterFacts, read_facts
from lora_manager_core.library.side_files import SideFacts, read_side_files
from lora_manager_core.library.walk import FoundFile

#: Dataset tags kept in the record; the header itself has them all.
_KEPT_TAGS = 30


#: Fields of `SideFacts` whose column has another name; the title is half of what it is called.
_COLUMN_OF = {
    "name": "canonical_version_name",
    "preferred_weight": "weight",
    "download_url": "primary_file_download_url",
}
#: What `sources` says nothing of: the base model has a source of its own, a hash is only a hint.
_UNTOLD = ("base_model", "sha256", "version_name")


def columns_from_file(found: FoundFile, look_up: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All columns a file and its side files fill, plus `stem`, from which a record is named.

    `look_up` is what a provider said of the file, see `read_side_files`. A favourite is only given
    where there is one: that a program of others knows none says nothing.
    """
    folder, name = os.path.split(found.path)
    side = read_side_files(folder, found.stem, found.neighbours, look_up)
    facts = read_facts(found.path, side, found.folder)
    readable = facts.problem is None
    preview = side.preview_path or (found.path if facts.has_thumbnail else None)
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
        "tensors_sha256": None,
        "autov3": None,
        "file_sha256_state": "pending",
        "file_sha256_problem": None,
        "preview_path": preview,
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
        "weight": _weight(side.preferred_weight) or 1.0,
        **_range(side),
        **({"favorite": True} if side.favorite else {}),
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
        "base_model_confidence": round(facts.base_model_confidence, 2),
        "source_model_id": None if side.model_id is None else str(side.model_id),
        "source_version_id": None if side.version_id is None else str(side.version_id),
        "rank": facts.rank,
        "alpha": facts.alpha,
        "last_ingested_at": utc_now(),
    }


def _weight(told: float | None) -> float | None:
    """What a side file says, unless nobody could set that by hand."""
    return None if told is None or abs(told) > MAX_WEIGHT else told


def _range(side: SideFacts) -> dict[str, float | None]:
    low, high = _weight(side.weight_min), _weight(side.weight_max)
    if low is not None and high is not None and low > high:
        low, high = high, low
    return {"weight_min": low, "weight_max": high, "weight_te": _weight(side.weight_te)}


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
        "model_hash": facts.model_hash,
        "sha256_told": side.sha256,
        "side_file_problems": list(side.problems),
        "sources": {
            _COLUMN_OF.get(name, name): source
            for name, source in side.sources.items()
            if name not in _UNTOLD
        },
    }
    if facts.rank_min != facts.rank_max:
        details["rank_min"], details["rank_max"] = facts.rank_min, facts.rank_max
    if facts.control:
        details["control"] = True
    extra.update((key, value) for key, value in details.items() if value)
    return extra


def _short(text: str | None, length: int) -> str | None:
    return text[:length] if text else None
