"""Translates the side files of other programs into one vocabulary, one reader per format.

Formats, and where their fields are defined: Civitai's REST API (developer.civitai.com, site
reference; `/model-versions/:id` in `.civitai.info`, `/models/:id` in `.json`), A1111's user
metadata (`.json`; AUTOMATIC1111/stable-diffusion-webui
extensions-builtin/Lora/ui_edit_user_metadata.py),
ComfyUI-Lora-Manager (`.metadata.json`; willmiao/ComfyUI-Lora-Manager py/utils/models.py),
StabilityMatrix (`.cm-info.json`; LykosAI/StabilityMatrix
StabilityMatrix.Core/Models/ConnectedModelInfo.cs), SwarmUI (`.swarm.json`). Of these only
ComfyUI-Lora-Manager knows favourites, and none knows ratings. Readers expect any type anywhere and
never raise.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import orjson

Json = dict[str, Any]


@dataclass(slots=True)
class Told:
    """What one side file tells: fields by the names of `SideFacts`, ids, and the rest as it was.

    `version_description` is a field too: what the author says of this version only.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    model_id: int | None = None
    version_id: int | None = None
    rest: Json = field(default_factory=dict)


def plain_text(markup: str) -> str:
    """HTML as text: blocks become lines, tags go, entities are resolved."""
    markup = markup[:_MAX_MARKUP]
    if "<" in markup:
        markup = _UNSEEN.sub("", markup)
        markup = _BREAKS.sub("\n", markup)
        markup = _TAGS.sub("", markup)
    if "&" in markup:
        markup = html.unescape(markup)
    markup = markup.replace("\0", "").replace("\r\n", "\n").replace("\xa0", " ")
    return _BLANK_LINES.sub("\n\n", markup).strip()


_MAX_MARKUP = 1_000_000  # characters; what is kept of a description is far less
# `[^<>]`, not `[^>]`: a text of a million `<a` would be searched to its end from each of them.
_UNSEEN = re.compile(r"<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.I | re.S)
_BREAKS = re.compile(r"<br\b[^<>]*>|</(?:p|div|li|ul|ol|h[1-6]|tr|blockquote|pre)\s*>", re.I)
_TAGS = re.compile(r"</?[a-z!][^<>]*>", re.I)
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")

# Civitai's words for the level, as older files have them.
_NSFW_WORDS = {"none": 1, "soft": 2, "mature": 4, "x": 8}
# Long lists of pictures and files: never kept.
_BULKY = frozenset(("images", "files", "modelVersions", "gallery", "covers", "trainingDetails"))


def read_civitai_version(document: Json, stem: str, version_id: int | None) -> Told:
    """`.civitai.info`, and what Civitai says of a hash: a version with a short form of its model.

    Civitai Helper writes such files.
    """
    model = _object(document.get("model"))
    told = _version(document, stem)
    told.model_id = _whole(document.get("modelId")) or _whole(model.get("id"))
    _take_model(told.fields, model, document)
    told.rest = {k: v for k, v in document.items() if k not in _VERSION_FIELDS and k not in _BULKY}
    model_rest = {k: v for k, v in model.items() if k not in _MODEL_FIELDS and k not in _BULKY}
    if model_rest:
        told.rest["model"] = model_rest
    return told


def read_json(document: Json, stem: str, version_id: int | None) -> Told:
    """`<stem>.json`: a Civitai model with its versions, A1111's user metadata, or both in one."""
    versions = [v for v in _list(document.get("modelVersions")) if isinstance(v, dict)]
    if not versions:
        if "modelId" in document and ("baseModel" in document or "files" in document):
            told = read_civitai_version(document, stem, version_id)
        else:
            told = Told(rest={k: v for k, v in document.items() if k not in _BULKY})
            told.fields["description"] = _text(document.get("description"))
            told.fields["sha256"] = _sha256(document.get("sha256"))
            told.model_id = _whole(document.get("modelId"))
            told.version_id = _whole(document.get("modelVersionId"))
        return _with_user_words(told, document)
    version = _version_of(versions, stem, version_id)
    told = _version(version, stem) if version is not None else Told()
    told.model_id = _whole(document.get("id"))
    _take_model(told.fields, document, document)
    told.rest = {k: v for k, v in document.items() if k not in _MODEL_FIELDS and k not in _BULKY}
    return _with_user_words(told, document)


def read_lora_manager(document: Json, stem: str, version_id: int | None) -> Told:
    """`.metadata.json` of ComfyUI-Lora-Manager; its `civitai` is a version as Civitai gives it."""
    civitai = _object(document.get("civitai"))
    told = read_civitai_version(civitai, stem, version_id) if civitai else Told()
    fields = told.fields
    own: Json = {
        "name": _text(document.get("model_name")),
        "description": _text(document.get("modelDescription")),
        "base_model": _text(document.get("base_model")),
        "tags": _texts(document.get("tags")),
        "notes": _text(document.get("notes")),
        "sha256": _sha256(document.get("sha256")),
    }
    for name, value in own.items():
        if value and not (name == "base_model" and value == "Unknown"):
            fields[name] = value
    if not fields.get("nsfw_level"):
        fields["nsfw_level"] = _nsfw(document.get("preview_nsfw_level"))
    tips = _usage_tips(document.get("usage_tips"))
    fields["preferred_weight"] = _number(tips.get("strength")) or None
    fields["weight_te"] = _number(tips.get("clip_strength"))
    fields["weight_min"] = _number(tips.get("strength_min"))
    fields["weight_max"] = _number(tips.get("strength_max"))
    fields["favorite"] = document.get("favorite") is True
    told.rest = {k: v for k, v in document.items() if k not in _LORA_MANAGER_FIELDS}
    kept = {k: v for k, v in tips.items() if k not in _USAGE_TIPS}
    if kept:
        told.rest["usage_tips"] = kept
    return told


def read_stability_matrix(document: Json, stem: str, version_id: int | None) -> Told:
    """`.cm-info.json` of StabilityMatrix (ConnectedModelInfo)."""
    stats = _object(document.get("Stats"))
    counters = {name[:1].lower() + name[1:]: value for name, value in stats.items()}
    fields: Json = {
        "name": _text(document.get("UserTitle")) or _text(document.get("ModelName")),
        "version_name": _text(document.get("VersionName")),
        "description": _text(document.get("ModelDescription")),
        "version_description": _text(document.get("VersionDescription")),
        "author_username": _text(document.get("AuthorUsername")) or _text(document.get("Author")),
        "tags": _texts(document.get("Tags")),
        "trained_words": _texts(document.get("TrainedWords")),
        "base_model": _text(document.get("BaseModel")),
        "nsfw_level": _nsfw(document.get("Nsfw")),
        "sha256": _sha256(_object(document.get("Hashes")).get("SHA256")),
        "stats": _counters(counters),
    }
    return Told(
        fields,
        _whole(document.get("ModelId")),
        _whole(document.get("VersionId")),
        {k: v for k, v in document.items() if k not in _STABILITY_MATRIX_FIELDS},
    )


def read_swarm(document: Json, stem: str, version_id: int | None) -> Told:
    """`.swarm.json` of SwarmUI: ModelSpec fields, with or without their prefix."""
    spec = {name.removeprefix("modelspec."): value for name, value in document.items()}
    trigger = _text(spec.get("trigger_phrase"))
    tags = spec.get("tags")
    fields: Json = {
        "name": _text(spec.get("title")),
        "description": _text(spec.get("description")),
        "author_username": _text(spec.get("author")),
        "trained_words": _split(trigger) if trigger else (),
        "tags": _split(tags) if isinstance(tags, str) else _texts(tags),
        "base_model": _text(spec.get("architecture")),
        "published_at": _moment(spec.get("date")),
        "notes": _text(spec.get("usage_hint")),
    }
    bulky = ("thumbnail", "preview_image", *_SWARM_FIELDS)
    return Told(fields, rest={k: v for k, v in spec.items() if k not in bulky})


READERS: dict[str, Callable[[Json, str, int | None], Told]] = {
    "civitai.info": read_civitai_version,
    "json": read_json,
    "metadata.json": read_lora_manager,
    "cm-info.json": read_stability_matrix,
    "swarm.json": read_swarm,
}

_VERSION_FIELDS = frozenset((
    "id", "modelId", "name", "baseModel", "trainedWords", "description", "creator", "model",
    "stats", "nsfwLevel", "publishedAt", "createdAt", "downloadUrl",
))  # fmt: skip
_MODEL_FIELDS = frozenset((
    "id", "name", "description", "tags", "creator", "nsfw", "nsfwLevel", "sd version",
    "activation text", "preferred weight", "negative text", "notes",
))  # fmt: skip
_LORA_MANAGER_FIELDS = frozenset((
    "model_name", "modelDescription", "base_model", "tags", "notes", "sha256", "civitai",
    "preview_nsfw_level", "file_path", "file_name", "size", "modified", "preview_url", "favorite",
    "usage_tips",
))  # fmt: skip
_USAGE_TIPS = frozenset(("strength", "strength_min", "strength_max", "clip_strength"))
_STABILITY_MATRIX_FIELDS = frozenset((
    "ModelId", "ModelName", "UserTitle", "ModelDescription", "VersionId", "VersionName", "Nsfw",
    "VersionDescription", "Author", "AuthorUsername", "Tags", "TrainedWords", "BaseModel", "Hashes",
    "Stats",
))  # fmt: skip
_SWARM_FIELDS = frozenset((
    "title", "description", "author", "trigger_phrase", "tags", "architecture", "date",
    "usage_hint",
))  # fmt: skip


def _version(version: Json, stem: str) -> Told:
    """The fields of one Civitai version."""
    file = _file_of(version, stem)
    moment = version.get("publishedAt") or version.get("createdAt")
    fields: Json = {
        "version_name": _text(version.get("name")),
        "version_description": _text(version.get("description")),
        "trained_words": _texts(version.get("trainedWords")),
        "base_model": _text(version.get("baseModel")),
        "nsfw_level": _nsfw(version.get("nsfwLevel")),
        "published_at": _moment(moment),
        "download_url": _url(version.get("downloadUrl")) or _url(file.get("downloadUrl")),
        "sha256": _sha256(_object(file.get("hashes")).get("SHA256")),
        "stats": _counters(version.get("stats")),
    }
    return Told(fields, version_id=_whole(version.get("id")))


def _take_model(fields: Json, model: Json, outer: Json) -> None:
    """Add what a Civitai model says; `outer` holds the creator."""
    creator = _object(outer.get("creator")) or _object(model.get("creator"))
    fields["name"] = _text(model.get("name"))
    fields["description"] = _text(model.get("description"))
    fields["tags"] = _texts(model.get("tags"))
    fields["author_username"] = _text(creator.get("username"))
    if not fields.get("nsfw_level"):
        fields["nsfw_level"] = _nsfw(model.get("nsfwLevel")) or _nsfw(model.get("nsfw"))


def _with_user_words(told: Told, document: Json) -> Told:
    """The keys A1111's user interface writes."""
    weight = _number(document.get("preferred weight"))
    told.fields["activation_text"] = _text(document.get("activation text"))
    told.fields["preferred_weight"] = weight or None  # A1111 writes 0 for "not set"
    told.fields["negative_prompt"] = _text(document.get("negative text"))
    told.fields["notes"] = _text(document.get("notes"))
    if not told.fields.get("base_model"):
        told.fields["base_model"] = _text(document.get("sd version"))
    for name in ("activation text", "preferred weight", "negative text", "notes", "sd version"):
        told.rest.pop(name, None)
    told.rest.pop("description", None)
    return told


def _version_of(versions: list[Json], stem: str, version_id: int | None) -> Json | None:
    """The version that the file is: by id, by file name, or because there is only one."""
    if version_id is not None:
        for version in versions:
            if version.get("id") == version_id:
                return version
    lower = stem.lower()
    for version in versions:
        for file in _list(version.get("files")):
            name = _text(_object(file).get("name"))
            if name is not None and name.lower().rpartition(".")[0] == lower:
                return version
    return versions[0] if len(versions) == 1 else None


def _file_of(version: Json, stem: str) -> Json:
    """The file of a version that has our name, else its primary one, else its only one."""
    files = [file for file in _list(version.get("files")) if isinstance(file, dict)]
    lower = stem.lower()
    for file in files:
        name = file.get("name")
        if isinstance(name, str) and name.lower().rpartition(".")[0] == lower:
            return file
    for file in files:
        if file.get("primary") is True:
            return file
    return files[0] if len(files) == 1 else {}


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


_MOST_TEXTS = 1000  # as many tags as a person may give


def _texts(value: Any) -> tuple[str, ...]:
    """A list of texts without blanks and repeats; Civitai's tags may be objects with a name."""
    found: dict[str, None] = {}
    for item in _list(value)[:_MOST_TEXTS]:
        text = _text(item.get("name") if isinstance(item, dict) else item)
        if text is not None:
            found[text] = None
    return tuple(found)


def _split(text: str) -> tuple[str, ...]:
    parts = (part.strip() for part in text.split(",", _MOST_TEXTS)[:_MOST_TEXTS])
    return tuple(dict.fromkeys(part for part in parts if part))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 < value < 2**63 else None


def _nsfw(value: Any) -> int:
    """Civitai's level; an older yes counts as R (4), a no as PG (1)."""
    if isinstance(value, bool):
        return 4 if value else 1
    if isinstance(value, str):
        return _NSFW_WORDS.get(value.lower(), 0)
    return value if isinstance(value, int) and 0 < value < 64 else 0


def _counters(value: Any) -> Json:
    return {k: v for k, v in _object(value).items() if _number(v) is not None and len(k) <= 40}


def _sha256(value: Any) -> str | None:
    return value.lower() if isinstance(value, str) and _SHA256.fullmatch(value) else None


_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def _url(value: Any) -> str | None:
    text = _text(value)
    return text if text is not None and text.startswith(("https://", "http://")) else None


def _moment(value: Any) -> str | None:
    """A date or time as RFC 3339 in UTC; without a zone it is taken as UTC."""
    text = _text(value)
    if text is None or len(text) > 40:
        return None
    if text.endswith(("Z", "z")):
        text = text[:-1] + "+00:00"
    text = _FRACTION.sub(lambda digits: f".{digits[1]:0<6.6}", text)  # Python 3.10 wants 3 or 6
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError):
        return None


_FRACTION = re.compile(r"\.(\d+)")


def _usage_tips(value: Any) -> Json:
    """`usage_tips` is JSON in a text: {"strength": 0.8, …}."""
    text = _text(value)
    if text is None or len(text) > 2000:
        return {}
    try:
        return _object(orjson.loads(text))
    except orjson.JSONDecodeError:
        return {}
