"""Any library with any people's data, as hypothesis draws it.

Every archived column of every archived table has a strategy by its type; the few that must fit each
other or the rules of the API are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, Table

from lora_manager_core.adapters.schemas import MAX_WEIGHT, AdapterFields
from lora_manager_core.common.clock import utc_text
from lora_manager_core.common.lora_tokens import unwritable_characters
from lora_manager_core.common.words import word_key
from lora_manager_core.db.models import (
    FEEDBACK_KINDS,
    PREFERENCE_KINDS,
    Adapter,
    Base,
    Choice,
    Collection,
    CollectionAdapter,
    ExcludedFile,
    FeedbackEvent,
    GenerationRun,
    Job,
    JobAttempt,
    Preference,
    Result,
    ResultImage,
    RunAdapter,
    Stack,
    StackedAdapter,
)
from lora_manager_core.db.types import JsonText
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS, TABLES
from lora_manager_core.library.files.names import safe_file_name, safe_folder
from lora_manager_core.queueing.base import CANCELLED, DELIVERY_LANE, FAILED, GPU_LANE, SUCCEEDED
from tests.libraries import Library, LoraFile, Picture, columns_of, stem_of

_text = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)
_words = st.lists(
    _text.map(str.strip).filter(bool), max_size=4, unique_by=lambda word: word.casefold()
)
_floats = st.floats(allow_nan=False, allow_infinity=False)
_weights = st.floats(-MAX_WEIGHT, MAX_WEIGHT)
_times = st.datetimes(
    datetime(2001, 1, 1),  # noqa: DTZ001 - `timezones` says which
    datetime(2099, 12, 31),  # noqa: DTZ001
    timezones=st.just(timezone.utc),
).map(utc_text)
_ids = st.uuids(version=4).map(str)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _floats | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=3,
)
_objects = st.dictionaries(_text, _json, max_size=4)
_names = (
    st.one_of(st.sampled_from(["ink", "Ink", "ink (2)", "日本 LoRA", "é", "é", "n" * 500]), _text)
    .map(str.strip)
    .filter(lambda name: name and not unwritable_characters(name))
)
_stems = st.one_of(
    st.sampled_from(["ink", "ink.v2", "Zebra (1)", "猫", "e\u0301t\u00e9", "a" * 200]),
    st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12),
).filter(lambda stem: safe_file_name(f"{stem}.safetensors") == f"{stem}.safetensors")
_folders = st.sampled_from(["", "styles", "styles/ink & water", "人物/a/b/c", "v1.5"]).filter(
    lambda folder: safe_folder(folder) == folder
)
_BESIDE = {
    ".json": _text.map(lambda text: b'{"notes": "%s"}' % text.encode().hex().encode()),
    ".civitai.info": st.binary(max_size=60),
    ".txt": _text.map(str.encode),
    ".preview.png": st.binary(min_size=1, max_size=60),
    ".jpg": st.binary(min_size=1, max_size=60),
}
_FILE_TIMES = st.integers(1_000_000_000 * 10**9, 4_000_000_000 * 10**9)

_files = st.builds(
    LoraFile,
    path=st.builds(lambda folder, stem: f"{folder}/{stem}".lstrip("/"), _folders, _stems),
    seed=st.integers(0, 2**31),
    beside=st.fixed_dictionaries({}, optional=_BESIDE),
    mtime_ns=_FILE_TIMES,
    is_pickle=st.sampled_from([False, False, False, True]),
).map(lambda file: replace(file, path=file.path + (".pt" if file.is_pickle else ".safetensors")))


#: What fits its column by more than its type.
_SPECIAL: Mapping[str, st.SearchStrategy[Any]] = {
    "adapters.name": _names,
    "adapters.visibility": st.sampled_from(["Public", "Private", "Unlisted"]),
    "adapters.tags": _words,
    "adapters.trained_words": _words,
    "adapters.triggers": _words,
    "adapters.edited_fields": st.lists(
        st.sampled_from(sorted(AdapterFields.model_fields)), unique=True
    ).map(sorted),
    "adapters.trigger_groups": st.lists(
        st.fixed_dictionaries({"name": _text, "words": _words, "required": st.booleans()}),
        max_size=2,
    ),
    "adapters.chosen_groups": _words,
    "adapters.weight": _weights,
    "adapters.weight_min": st.none() | _weights,
    "adapters.weight_max": st.none() | _weights,
    "adapters.weight_te": st.none() | _weights,
    "adapters.ordinal": st.none() | st.integers(-(10**9), 10**9),
    "adapters.archetype_confidence": st.none() | st.floats(0, 1),
    "adapters.nsfw_level": st.integers(0, 64),
    "adapters.rating": st.none() | st.integers(1, 5),
    "adapters.stats": st.none() | _objects,
    "adapters.extra": st.none() | _objects,
    "adapters.origin": st.sampled_from(["person", "scan"]),
    "adapters.file_size": st.integers(0, 2**63 - 1),
    "adapters.file_mtime_ns": _FILE_TIMES,
    "adapters.primary_file_sha256": st.none(),
    "adapters.autov2": st.none(),
    "adapters.tensors_sha256": st.none(),
    "adapters.autov3": st.none(),
    "choices.value": _json.filter(lambda value: value is not None),
    "feedback_events.kind": st.sampled_from(FEEDBACK_KINDS),
    "preferences.kind": st.sampled_from(PREFERENCE_KINDS),
    "preferences.confidence": st.floats(0, 1),
    "collections.name": _text.filter(str.strip),
    "collections.query": st.none() | _objects,
    "stacks.name": _text.filter(str.strip),
    "stack_entries.weight": _weights,
    "stack_entries.weight_te": st.none() | _weights,
    "stack_entries.trigger_groups": _words,
    "jobs.kind": st.sampled_from(["generation", "generation.sweep", "delivery.http"]),
    "jobs.lane": st.sampled_from([GPU_LANE, DELIVERY_LANE]),
    "jobs.status": st.sampled_from([SUCCEEDED, SUCCEEDED, FAILED, CANCELLED]),
    "jobs.payload": _objects,
    "jobs.result": st.none() | _objects,
    "jobs.error": st.none() | _objects,
    "jobs.progress": st.floats(0, 1),
    "jobs.attempts": st.integers(0, 5),
    "jobs.retries_left": st.integers(0, 5),
    "job_attempts.outcome": st.sampled_from([SUCCEEDED, FAILED, CANCELLED, "abandoned"]),
    "job_attempts.error": st.none() | _objects,
    "results.rating": st.none() | st.integers(1, 5),
    "result_images.width": st.integers(1, 10**6),
    "result_images.height": st.integers(1, 10**6),
    "generation_runs.source": st.sampled_from(["job", "host"]),
    "generation_runs.images": st.integers(0, 10**6),
    "generation_runs.duration_s": st.none() | st.floats(0, 1e12),
}


def _column(column: Column[Any]) -> st.SearchStrategy[Any]:
    special = _SPECIAL.get(f"{column.table.name}.{column.name}")
    if special is not None:
        return special
    strategy = _by_type(column)
    return st.none() | strategy if column.nullable else strategy


def _by_type(column: Column[Any]) -> st.SearchStrategy[Any]:
    kind, length = column.type, getattr(column.type, "length", None)
    if isinstance(kind, JsonText):
        return _json
    if isinstance(kind, Boolean):
        return st.booleans()
    if isinstance(kind, Integer):
        bits = 63 if isinstance(kind, BigInteger) else 31
        return st.integers(-(2**bits), 2**bits - 1)
    if isinstance(kind, Float):
        return _floats
    if length == 36:
        return _ids
    if length == 27:
        return _times
    return _text if length is None else _text.map(lambda text: text[:length])


def _row(model: type[Base], columns: Sequence[str], **given: Any) -> st.SearchStrategy[Any]:
    """A row with these columns; `given` are values or strategies of some of them."""
    table: Table = model.__table__  # type: ignore[assignment]
    drawn = {name: _column(table.c[name]) for name in columns if name not in given}
    for name, value in given.items():
        drawn[name] = value if isinstance(value, st.SearchStrategy) else st.just(value)
    return st.fixed_dictionaries(drawn)


@st.composite
def _sets(
    draw: st.DrawFn,
    model: type[Base],
    members: type[Base],
    owner: str,
    adapter_ids: Sequence[str | None],
) -> dict[type[Base], list[dict[str, Any]]]:
    """At most one collection, or stack, with at most one adapter: they take much to draw."""
    rows = draw(st.lists(_row(model, columns_of(model)), max_size=1))
    listed = []
    for row in rows if adapter_ids else ():
        if draw(st.booleans()):
            adapter_id = st.sampled_from(adapter_ids)
            columns = columns_of(members)
            given = {owner: row["id"], "adapter_id": adapter_id, "position": st.integers(0, 9)}
            listed.append(draw(_row(members, columns, **given)))
    return {model: rows, members: listed}


@st.composite
def libraries(draw: st.DrawFn, most_files: int = 2) -> Library:
    """A library of at most so many files with one to three records each, and rows in every table.

    Hypothesis throws an example away that takes more than 8 KiB to draw, and fails where most do:
    of two files every fifth does, of three every third.
    """
    files = draw(
        st.lists(_files, max_size=most_files, unique_by=lambda f: stem_of(f.path).casefold())
    )
    owners: list[LoraFile | None] = [
        file for file in files for _ in range(draw(st.sampled_from([1, 1, 2, 3])))
    ] + [None] * draw(st.integers(0, 1))
    told = draw(
        st.lists(
            _row(Adapter, RECORD_COLUMNS),
            min_size=len(owners),
            max_size=len(owners),
            unique_by=(lambda r: r["id"], lambda r: (r["name"], r["version"] or "")),
        )
    )
    job_rows = _row(Job, columns_of(Job))
    jobs = draw(st.lists(job_rows, min_size=1, max_size=3, unique_by=lambda r: r["id"]))
    attempts, results, pictures = [], [], []
    for job in jobs:
        for number in range(draw(st.integers(0, 2))):
            columns = columns_of(JobAttempt)
            attempts.append(draw(_row(JobAttempt, columns, job_id=job["id"], number=number)))
        if job["status"] == SUCCEEDED:
            results.append(draw(_row(Result, columns_of(Result), job_id=job["id"])))
            for number in range(draw(st.integers(0, 3))):
                row = _row(
                    ResultImage,
                    columns_of(ResultImage),
                    job_id=job["id"],
                    number=number,
                    file_path=f"2024-02-29/{job['id']}-{number}.png",
                )
                content = st.none() | st.binary(min_size=1, max_size=200)
                pictures.append(draw(st.builds(Picture, row, content)))
    runs = draw(
        st.lists(
            _row(
                GenerationRun,
                columns_of(GenerationRun),
                id=st.integers(1, 2**40),
                job_id=st.sampled_from([None, *(job["id"] for job in jobs)]) | _ids,
            ),
            max_size=3,
            unique_by=(lambda r: r["id"], lambda r: r["job_id"] or r["id"]),
        )
    )
    used = [
        draw(
            _row(
                RunAdapter,
                columns_of(RunAdapter),
                run_id=run["id"],
                position=position,
                adapter_id=st.sampled_from([None, *(record["id"] for record in told)]),
            )
        )
        for run in runs
        for position in range(draw(st.integers(0, 3)))
    ]
    rows: dict[type[Base], list[dict[str, Any]]] = {
        Choice: draw(
            st.lists(
                _row(Choice, columns_of(Choice)), max_size=3, unique_by=lambda row: row["name"]
            )
        ),
        ExcludedFile: draw(
            st.lists(
                _row(ExcludedFile, columns_of(ExcludedFile)),
                max_size=2,
                unique_by=lambda row: row["file_key"],
            )
        ),
        FeedbackEvent: draw(
            st.lists(
                _row(
                    FeedbackEvent,
                    columns_of(FeedbackEvent),
                    adapter_id=st.sampled_from([record["id"] for record in told]) | _ids
                    if told
                    else _ids,
                ),
                max_size=3,
                unique_by=lambda row: row["id"],
            )
        ),
        Preference: draw(
            st.lists(
                _row(Preference, columns_of(Preference)),
                max_size=3,
                unique_by=(
                    lambda row: row["id"],
                    lambda row: (row["user"], row["kind"], word_key(row["value"])),
                ),
            )
        ),
        **draw(_sets(Collection, CollectionAdapter, "collection_id", [r["id"] for r in told])),
        **draw(_sets(Stack, StackedAdapter, "stack_id", [None, *(r["id"] for r in told)])),
        Job: jobs,
        JobAttempt: attempts,
        Result: results,
        GenerationRun: runs,
        RunAdapter: used,
    }
    assert {*rows, ResultImage} == {table.model for table in TABLES}, "a table nobody draws"
    return Library(files, list(zip(owners, told, strict=True)), pictures, rows)
