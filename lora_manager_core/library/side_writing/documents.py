"""What a record is in the side files of other programs, merged into what one of them has already.

A value of ours is written where the file has none, and over one that it has only if a person set
it here; fields of others stay as they are. The formats are those of `library.side_formats`, which
reads back what is written here.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from lora_manager_core.db.models import Adapter
from lora_manager_core.library.side_formats import plain_text

Json = dict[str, Any]

#: From which level on Civitai's older yes-or-no says yes (R).
_NSFW = 4
_NO_WEIGHT = 1.0


class _Draft:
    """A JSON object in the making; `edited` are the columns that a person set."""

    def __init__(self, document: Any, edited: set[str]) -> None:
        self.document: Json = dict(document) if isinstance(document, dict) else {}
        self._edited = edited

    def put(self, name: str, value: Any, column: str) -> None:
        """Write a value, see the module."""
        missing = self.document.get(name) in (None, "", [], {}, 0, False)
        if value not in (None, "", [], {}) and (missing or column in self._edited):
            self.document[name] = value
        elif column in self._edited and name in self.document:
            self.document[name] = value if value is not None else type(self.document[name])()

    def inner(self, name: str) -> _Draft:
        """An object inside this one; put it back with `put_inner`."""
        return _Draft(self.document.get(name), self._edited)

    def put_inner(self, name: str, draft: _Draft) -> None:
        """Write an object inside this one, if it says anything."""
        if draft.document:
            self.document[name] = draft.document


def civitai_version(
    record: Adapter, existing: Json | None, answer: Mapping[str, Any] | None
) -> Json:
    """`.civitai.info`: a version as Civitai's API gives it. `answer` is Civitai's own, if known."""
    draft = _Draft(existing or answer, set(record.edited_fields))
    title, version_name = _names(record)
    draft.put("id", _number(record.source_version_id), "source_version_id")
    draft.put("modelId", _number(record.source_model_id), "source_model_id")
    draft.put("name", version_name, "version")
    draft.put("baseModel", record.base_model, "base_model")
    draft.put("trainedWords", list(record.trained_words), "trained_words")
    draft.put("description", _markup((record.extra or {}).get("version_description")), "")
    draft.put("nsfwLevel", record.nsfw_level, "nsfw_level")
    draft.put("publishedAt", record.published_at, "published_at")
    draft.put("downloadUrl", record.primary_file_download_url, "primary_file_download_url")
    draft.put("stats", record.stats, "stats")
    model = draft.inner("model")
    model.put("name", title, "")
    model.put("type", "LORA", "")
    model.put("description", _markup(record.description), "description")
    model.put("tags", list(record.tags), "tags")
    if record.nsfw_level:  # else nobody knows, which is not a no
        model.put("nsfw", record.nsfw_level >= _NSFW, "nsfw_level")
    draft.put_inner("model", model)
    creator = draft.inner("creator")
    creator.put("username", record.author_username, "author_username")
    draft.put_inner("creator", creator)
    if not draft.document.get("files"):
        hashes = {"SHA256": (record.primary_file_sha256 or "").upper()}
        draft.document["files"] = [
            {
                "name": Path(record.file_path).name,
                "sizeKB": record.file_size / 1024,
                "primary": True,
                "hashes": hashes if record.primary_file_sha256 else {},
            }
        ]
    return draft.document


def user_json(record: Adapter, existing: Json | None, answer: Mapping[str, Any] | None) -> Json:
    """`.json` as A1111's and SD.Next's pages for a network's metadata have it."""
    draft = _Draft(existing, set(record.edited_fields))
    draft.put("description", _plain(record.description), "description")
    draft.put("sd version", record.base_model, "base_model")
    draft.put("activation text", record.activation_text, "activation_text")
    draft.put("preferred weight", _weight(record), "weight")
    draft.put("negative text", record.negative_prompt, "negative_prompt")
    draft.put("notes", record.notes, "notes")
    if "modelVersions" not in draft.document:
        draft.put("modelId", _number(record.source_model_id), "source_model_id")
        draft.put("modelVersionId", _number(record.source_version_id), "source_version_id")
        draft.put("sha256", record.primary_file_sha256, "primary_file_sha256")
    return draft.document


def lora_manager(record: Adapter, existing: Json | None, answer: Mapping[str, Any] | None) -> Json:
    """`.metadata.json` of ComfyUI-Lora-Manager; what it says of the file itself is always ours."""
    path = Path(record.file_path)
    draft = _Draft(existing, set(record.edited_fields))
    draft.document.update(
        file_name=path.name.rpartition(".")[0], file_path=path.as_posix(), size=record.file_size
    )
    title, _ = _names(record)
    if record.primary_file_sha256:
        draft.document["sha256"] = record.primary_file_sha256
    draft.put("model_name", title, "")
    draft.put("modified", record.file_mtime_ns / 1e9, "")
    draft.put("base_model", record.base_model or "Unknown", "base_model")
    draft.put("modelDescription", _markup(record.description), "description")
    draft.put("tags", list(record.tags), "tags")
    draft.put("notes", record.notes, "notes")
    draft.put("favorite", record.favorite, "favorite")
    draft.put("preview_nsfw_level", record.nsfw_level, "nsfw_level")
    draft.put("from_civitai", record.source_model_id is not None, "")
    tips = _Draft(_object(draft.document.get("usage_tips")), set(record.edited_fields))
    tips.put("strength", _weight(record), "weight")
    tips.put("strength_min", record.weight_min, "weight_min")
    tips.put("strength_max", record.weight_max, "weight_max")
    tips.put("clip_strength", record.weight_te, "weight_te")
    draft.document["usage_tips"] = orjson.dumps(tips.document).decode()
    civitai = draft.document.get("civitai")
    draft.document["civitai"] = civitai_version(
        record, civitai if isinstance(civitai, dict) else None, answer
    )
    return draft.document


#: Format → its ending, and what makes its document of a record, a file and a provider's answer.
FORMATS: Mapping[
    str, tuple[str, Callable[[Adapter, Json | None, Mapping[str, Any] | None], Json]]
] = {
    "civitai.info": (".civitai.info", civitai_version),
    "json": (".json", user_json),
    "metadata.json": (".metadata.json", lora_manager),
}


def _names(record: Adapter) -> tuple[str, str | None]:
    """Title and version: `canonical_version_name` holds both, joined as `library.columns` does."""
    title = (record.extra or {}).get("title")
    name, _, version = (record.canonical_version_name or "").partition(" – ")
    return title if isinstance(title, str) and title else name or record.name, version or None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _weight(record: Adapter) -> float | None:
    """The weight, unless it is what every adapter begins with."""
    return record.weight if record.weight != _NO_WEIGHT else None


def _markup(text: Any) -> str | None:
    """Plain text as HTML."""
    return html.escape(text, quote=False).replace("\n", "<br>") if isinstance(text, str) else None


def _plain(text: str | None) -> str | None:
    """Plain text where programs show it as it is; as HTML only if it would be taken for that."""
    return text if text is None or plain_text(text) == text else _markup(text)


def _object(text: Any) -> Json:
    try:
        value = orjson.loads(text) if isinstance(text, str) else {}
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
