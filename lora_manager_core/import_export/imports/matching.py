"""Which record here is the one an archive tells of, and how the two differ. Nothing is asked here.

In this order: the same id; the same contents of the model file; the same file in the same place;
the same name and version. A record here is met by one archived adapter at most.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lora_manager_core.common.words import distinct_words
from lora_manager_core.import_export.archive.contents import ArchivedRecord
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS
from lora_manager_core.import_export.imports.repository import KnownRecord

#: Columns that follow the file, or tell when something happened: no difference for people.
OF_FILE = frozenset(
    (
        "file_problem",
        "file_size",
        "file_mtime_ns",
        "primary_file_name",
        "primary_file_size_kb",
        "primary_file_sha256",
        "file_sha256_state",
        "autov2",
        "tensors_sha256",
        "autov3",
        "json_file_mtime",
        "json_file_size",
        "last_ingested_at",
    )
)
_OF_RECORD = frozenset(("id", "origin", "edited_fields", "created_at", "updated_at"))
#: What people see of an adapter; only here two records can differ.
COMPARED = tuple(name for name in RECORD_COLUMNS if name not in OF_FILE | _OF_RECORD)
#: Of those, what scans fill from a file and what lies beside it, see `library.columns`.
FOUND_BY_SCANS = frozenset(
    (
        "version",
        "canonical_version_name",
        "description",
        "author_username",
        "published_at",
        "tags",
        "trained_words",
        "triggers",
        "weight",
        "weight_min",
        "weight_max",
        "weight_te",
        "nsfw_level",
        "activation_text",
        "notes",
        "negative_prompt",
        "stats",
        "extra",
        "sd_version",
        "supports_generation",
        "network_type",
        "base_model",
        "base_model_source",
        "base_model_confidence",
        "source_model_id",
        "source_version_id",
        "rank",
        "alpha",
        "primary_file_download_url",
    )
)
_WORD_LISTS = ("tags", "trained_words", "triggers")
_EMPTY: tuple[Any, ...] = (None, "", [], {})


class Matcher:
    """Finds the record here for each archived one."""

    def __init__(self, known: Sequence[KnownRecord]) -> None:
        self._by_id = {record.id: record for record in known}
        self._by_sha: dict[str, list[KnownRecord]] = {}
        self._by_key: dict[str, list[KnownRecord]] = {}
        self._by_name: dict[tuple[str, str], KnownRecord] = {}
        for record in known:
            if record.sha256:
                self._by_sha.setdefault(record.sha256.lower(), []).append(record)
            self._by_key.setdefault(record.file_key, []).append(record)
            self._by_name[record.name, record.version_key] = record

    def match(
        self, archived: Sequence[ArchivedRecord], file_keys: Mapping[int, str]
    ) -> dict[int, KnownRecord]:
        """Number of the archived record → the one here.

        `file_keys` are the files here that are, byte for byte, those of archived records.
        """
        found: dict[int, KnownRecord] = {}
        claimed: set[int] = set()

        def _claim(number: int, candidates: Sequence[KnownRecord]) -> None:
            if number not in found:
                free = next((known for known in candidates if known.pk not in claimed), None)
                if free is not None:
                    found[number] = free
                    claimed.add(free.pk)

        for number, record in enumerate(archived):
            known = self._by_id.get(record.columns.get("id", ""))
            _claim(number, [] if known is None else [known])
        for same_name in (True, False):
            for number, record in enumerate(archived):
                alike = [
                    *self._by_sha.get(sha256_of(record) or "", ()),
                    *self._by_key.get(file_keys.get(number, ""), ()),
                ]
                name = name_of(record)
                if same_name:
                    alike = [known for known in alike if (known.name, known.version_key) == name]
                _claim(number, alike)
        for number, record in enumerate(archived):
            named = self._by_name.get(name_of(record) or ("", ""))
            _claim(number, [] if named is None else [named])
        return found

    def at(self, file_key: str) -> Sequence[KnownRecord]:
        """The records of a file."""
        return self._by_key.get(file_key, ())


def name_of(record: ArchivedRecord) -> tuple[str, str] | None:
    """Name and version, as they are unique; None where the archive names nothing."""
    name = record.columns.get("name")
    return None if name is None else (name, record.columns.get("version") or "")


def sha256_of(record: ArchivedRecord) -> str | None:
    """What the archive says of the contents of the model file."""
    model = record.model
    told = model.sha256 if model is not None else record.columns.get("primary_file_sha256")
    return told.lower() if told else None


def differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], edited_here: Collection[str]
) -> list[str]:
    """The fields in which two records differ for people.

    What scans found, here and there, and nobody said anything of, is no difference: one reads more
    than the other. What an archive leaves out is none either.
    """
    said = {*edited_here, *(theirs.get("edited_fields") or ())}
    return [n for n in _unequal(ours, theirs) if n in said or n not in FOUND_BY_SCANS]


def filled(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], edited_here: Collection[str]
) -> dict[str, Any]:
    """What is empty here and is known there."""
    change = merged(ours, theirs, edited_here)
    return {name: value for name, value in change.items() if ours[name] in _EMPTY}


def merged(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], edited_here: Collection[str]
) -> dict[str, Any]:
    """What a merge changes: words are united, what is empty here is filled.

    What a person set here stays; what a person set there beats what a scan found here.
    """
    edited_there = set(theirs.get("edited_fields") or ())
    change: dict[str, Any] = {}
    for name in _unequal(ours, theirs):
        if name in _WORD_LISTS:
            here = {word.casefold() for word in ours[name]}
            more = [w for w in distinct_words(theirs[name]) if w.casefold() not in here]
            if more:
                change[name] = [*ours[name], *more]
        elif name in ("name", "version", "base_model_source") or name in edited_here:
            continue
        elif ours[name] in _EMPTY or (name in edited_there and theirs[name] not in _EMPTY):
            change[name] = theirs[name]
    if "base_model" in change:
        told = ("base_model_source", "base_model_confidence")
        change.update({name: theirs[name] for name in told if name in theirs})
    edited = sorted({*edited_here, *(edited_there & change.keys())})
    if edited != sorted(edited_here):
        change["edited_fields"] = edited
    return change


def _unequal(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    return [name for name in COMPARED if name in theirs and ours[name] != theirs[name]]
