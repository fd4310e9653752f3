"""Finds and reads the files other programs leave beside an adapter, and the picture that shows it.

Each kind of file is made JSON by `side_json` and translated by `side_formats`; here they meet: for
every field the first source that says something wins, in the order of `RANKS`, so poorer never
overwrites richer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from lora_manager_core.library.side_formats import (
    READERS,
    Told,
    plain_text,
    read_civitai_version,
)
from lora_manager_core.library.side_json import decoded, read_object

MAX_SIDE_FILE_BYTES = 4 * 1024 * 1024  # a Civitai answer with many pictures stays far below
MAX_EXTRA_BYTES = 16 * 1024  # of unknown fields kept per source
_MAX_DESCRIPTION = 50_000  # characters, as many as a person may write

#: The source that is no file: what a provider said when it was asked for the hash.
LOOK_UP = "look-up"
# Richest first. What only a person writes (activation text, weight, notes) stands in one of them.
SOURCES = (
    (".civitai.info", "civitai.info"),
    (".metadata.json", "metadata.json"),
    (".json", "json"),
    (".cm-info.json", "cm-info.json"),
    (".swarm.json", "swarm.json"),
)
#: All sources, richest first. What people may have written in their programs comes before what a
#: provider tells everybody; after the last one comes the model file itself.
RANKS = ("civitai.info", "metadata.json", "json", "cm-info.json", LOOK_UP, "swarm.json", "txt")
_PICTURES = ("png", "jpg", "jpeg", "webp", "gif", "mp4", "webm")
#: Endings of pictures and clips that show an adapter, the first that exists counts.
PREVIEW_ENDINGS = tuple(f".preview.{kind}" for kind in _PICTURES) + tuple(
    f".{kind}" for kind in _PICTURES
)


@dataclass(frozen=True, slots=True)
class SideFacts:
    """What the side files of one adapter say; None or empty where none of them does.

    `base_model` is the raw label of the source. `model_id` and `version_id` are Civitai's, of one
    source. `nsfw_level` is Civitai's bit (1 PG, 2 PG-13, 4 R,
    8 X, 16 XXX), 0 when unknown. `published_at` is RFC 3339 in UTC. `sha256` is a hint: it
    belongs to the file the side file was written for. `stats` holds Civitai's counters. `extra`
    has `civitai` (ids) and, per source, small unknown fields. `sources` says which file each field
    came from.
    `json_file_*` describe the richest JSON file (mtime in nanoseconds, size in bytes).
    `problems` are sentences about files that could not be used.
    """

    name: str | None = None
    version_name: str | None = None
    description: str | None = None
    author_username: str | None = None
    tags: tuple[str, ...] = ()
    trained_words: tuple[str, ...] = ()
    base_model: str | None = None
    nsfw_level: int = 0
    published_at: str | None = None
    activation_text: str | None = None
    preferred_weight: float | None = None
    weight_min: float | None = None
    weight_max: float | None = None
    weight_te: float | None = None
    favorite: bool = False
    negative_prompt: str | None = None
    notes: str | None = None
    sha256: str | None = None
    model_id: int | None = None
    version_id: int | None = None
    download_url: str | None = None
    stats: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    preview_path: str | None = None
    json_file_path: str | None = None
    json_file_mtime_ns: int | None = None
    json_file_size: int | None = None
    problems: tuple[str, ...] = ()


def read_side_files(
    folder: str, stem: str, names: Mapping[str, str], look_up: Mapping[str, Any] | None = None
) -> SideFacts:
    """Read what lies beside `<stem>.safetensors` in `folder`; never raises for what files contain.

    `names` maps lower-cased file names of that folder to their real spelling: the folder is not
    listed here. `look_up` is a provider's answer for this very file, in the form of a Civitai
    version.
    """
    key = stem.lower()
    problems: list[str] = []
    told: list[tuple[str, Told]] = []
    main: tuple[str, int, int] | None = None
    for ending, source in SOURCES:
        name = names.get(key + ending)
        if name is None:
            continue
        path = os.path.join(folder, name)  # noqa: PTH118  10,000 of these per scan
        read = _read(path, name, problems)
        if read is None:
            continue
        raw, mtime_ns, size = read
        document = read_object(raw, name, problems)
        if document is None:
            continue
        told.append((source, READERS[source](document, stem, _version_id(told))))
        if main is None:
            main = (path, mtime_ns, size)
    text = names.get(key + ".txt")
    if text is not None:
        told.append(("txt", _read_text(folder, text, problems)))
    if look_up is not None:
        told.append((LOOK_UP, read_civitai_version(dict(look_up), stem, None)))
    told.sort(key=lambda one: RANKS.index(one[0]))
    preview = preview_of(stem, names)
    return _merged(
        told,
        preview_path=os.path.join(folder, preview) if preview else None,  # noqa: PTH118  as above
        json_file_path=main[0] if main else None,
        json_file_mtime_ns=main[1] if main else None,
        json_file_size=main[2] if main else None,
        problems=tuple(problems),
    )


def preview_of(stem: str, names: Mapping[str, str]) -> str | None:
    """The name of the picture or clip that shows the adapter: `.preview.*` before plain ones."""
    key = stem.lower()
    for ending in PREVIEW_ENDINGS:
        name = names.get(key + ending)
        if name is not None:
            return name
    return None


def _read(path: str, name: str, problems: list[str]) -> tuple[bytes, int, int] | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  10,000 of these per scan
            status = os.fstat(file.fileno())
            if status.st_size > MAX_SIDE_FILE_BYTES:
                problems.append(f"{name} is larger than 4 MB and was not read")
                return None
            return file.readall(), status.st_mtime_ns, status.st_size
    except OSError as error:
        problems.append(f"{name} cannot be read: {error.strerror or type(error).__name__}")
    return None


def _read_text(folder: str, name: str, problems: list[str]) -> Told:
    read = _read(os.path.join(folder, name), name, problems)  # noqa: PTH118  as above
    if read is None:
        return Told()
    text = decoded(read[0], name, problems).replace("\0", "").strip()
    return Told({"description": text} if text else {})


def _version_id(told: list[tuple[str, Told]]) -> int | None:
    """The Civitai version that a richer source has named already."""
    for _, one in told:
        if one.version_id is not None:
            return one.version_id
    return None


def _merged(told: list[tuple[str, Told]], **found: Any) -> SideFacts:
    fields: dict[str, Any] = {}
    sources: dict[str, str] = {}
    extra: dict[str, Any] = {}
    ids: dict[str, Any] = {}
    for source, one in told:
        for name, value in one.fields.items():
            if value and name not in fields:
                fields[name] = value
                sources[name] = source
        if one.model_id is not None and ids.get("model_id", one.model_id) == one.model_id:
            ids["model_id"] = one.model_id
            if one.version_id is not None:
                ids.setdefault("version_id", one.version_id)
        elif one.version_id is not None and not ids:
            ids["version_id"] = one.version_id
        if one.rest:
            kept = _small(one.rest)
            if kept:
                extra[source] = kept
    if ids:
        extra["civitai"] = ids
    if "description" in fields and sources["description"] != "txt":
        fields["description"] = plain_text(fields["description"]) or None
    about = fields.pop("version_description", None)
    about_source = sources.pop("version_description", "")
    if about:
        about = plain_text(about)
        if not fields.get("description"):
            fields["description"] = about or None
            sources["description"] = about_source
        elif about and about != fields["description"] and len(about) <= MAX_EXTRA_BYTES:
            extra["version_description"] = about
    if fields.get("description"):
        fields["description"] = fields["description"][:_MAX_DESCRIPTION]
    return SideFacts(**fields, **ids, extra=extra, sources=sources, **found)


def _small(rest: dict[str, Any]) -> dict[str, Any]:
    """`rest` within MAX_EXTRA_BYTES as JSON; where it is larger, the larger fields go."""
    if len(orjson.dumps(rest)) <= MAX_EXTRA_BYTES:
        return rest
    kept: dict[str, Any] = {}
    room = MAX_EXTRA_BYTES
    for size, name in sorted((len(orjson.dumps(value)), name) for name, value in rest.items()):
        room -= size + len(name) + 4
        if room < 0:
            break
        kept[name] = rest[name]
    return kept
