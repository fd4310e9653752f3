"""How news of a file meets what is stored of it.

What a person set is never overwritten, nothing known is replaced by nothing, and no more by what a
poorer source says: each record remembers in `extra.sources` which side file a field came from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.writer import SEARCHED, search_text
from lora_manager_core.db.models import Adapter
from lora_manager_core.errors import InvalidRequest
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.side_files import RANKS
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
        "prompt_name",
        "prompt_name_problem",
        "last_ingested_at",
    )
)
#: Columns that name the contents: a replaced file makes what was known of the old one wrong.
_OF_CONTENTS = frozenset(
    (
        "primary_file_sha256",
        "autov2",
        "tensors_sha256",
        "autov3",
        "file_sha256_state",
        "file_sha256_problem",
    )
)


#: What belongs to one finding of the base model.
_BASE_MODEL = ("base_model", "base_model_source", "base_model_confidence", "sd_version")
#: Keys of `extra` that tell of the last reading only.
_OF_READING = ("sources", "side_file_problems")


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
    passed = edited | {"stem", "version", "weight"} | _poorer(stored, news, replaced)
    change: dict[str, Any] = {}
    for column, value in news.items():
        if column in passed:
            continue
        if column in _OF_CONTENTS:
            if replaced:
                change[column] = value
        elif column == "preview_path":
            if value is not None or not _lies_elsewhere(stored):
                change[column] = value
        elif column in _ALWAYS or not _says_nothing(column, value):
            change[column] = value
    if "extra" in change:
        change["extra"] = _merged_extra(stored.extra or {}, change["extra"], set(change))
    if "base_model" in edited:
        change.pop("base_model_source", None)
        change.pop("base_model_confidence", None)
    change["search_text"] = search_text(
        {name: change.get(name, getattr(stored, name)) for name in SEARCHED}
    )
    return change


def _says_nothing(column: str, value: Any) -> bool:
    return value in (None, "", [], {}) or (column == "nsfw_level" and value == 0)


def _poorer(stored: Adapter, news: Mapping[str, Any], replaced: bool) -> set[str]:
    """The columns that the record has from a richer source than the news have."""
    before, now = _sources(stored.extra), _sources(news["extra"])
    poorer = {column for column in before if _rank(before[column]) < _rank(now.get(column))}
    sure, surer = news["base_model_confidence"] or 0.0, stored.base_model_confidence or 0.0
    if not replaced and sure < surer:
        poorer.update(_BASE_MODEL)
    return poorer


def _sources(extra: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Column → source, as far as `extra` has it: what people put there may have any form."""
    sources = (extra or {}).get("sources")
    return sources if isinstance(sources, dict) else {}


def _rank(source: Any) -> int:
    """The place of a source, the richest first; the model file itself comes last."""
    return RANKS.index(source) if isinstance(source, str) and source in RANKS else len(RANKS)


def _merged_extra(
    before: Mapping[str, Any], news: Mapping[str, Any], changed: Collection[str]
) -> dict[str, Any]:
    """What is known beyond the columns: the news, and what they do not speak of."""
    sources = {
        **_sources(before),
        **{name: one for name, one in _sources(news).items() if name in changed},
    }
    merged = {**{k: v for k, v in before.items() if k not in _OF_READING}, **news}
    if sources:
        merged["sources"] = sources
    return merged


def _lies_elsewhere(stored: Adapter) -> bool:
    """Whether the preview is one of ours: it does not lie beside the model."""
    if stored.preview_path is None:
        return False
    return Path(stored.preview_path).parent != Path(stored.file_path).parent
