"""What one file and its side files tell, as the columns of a record.

Imports no database: the helper processes of `reading` use it, and must start fast.
"""

from __future__ import annotations

import os
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
        "weight": _weight(side.preferred_weight),
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


def _weight(preferred: float | None) -> float:
    """What a side file recommends, unless nobody could set that by hand."""
    return 1.0 if preferred is None or abs(preferred) > MAX_WEIGHT else preferred


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
