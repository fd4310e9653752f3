"""Libraries for tests: files, records and rows, and how they get onto the disk and into a database.

`plain_library` is a fixed one; `any_library` draws any.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Float, Integer, delete, insert, select

from lora_manager_core.adapters.writer import AdapterWriter, search_text
from lora_manager_core.common.paths import path_key
from lora_manager_core.common.words import word_key
from lora_manager_core.db.models import (
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
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS, TABLES
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.walk import find_file
from lora_manager_core.queueing.base import GPU_LANE, SUCCEEDED
from tests.fakes.lora_files import write_lora

#: Columns that the file itself decides: its size and time stamps, and those of what lies beside it.
_OF_FILE = frozenset(
    (
        "file_size",
        "file_mtime_ns",
        "primary_file_name",
        "primary_file_size_kb",
        "json_file_mtime",
        "json_file_size",
    )
)


#: When everything in a plain library happened.
_MOMENT = "2024-02-29T12:00:00.000000Z"


@dataclass(frozen=True)
class LoraFile:
    """A model file, `path` below the library folder, and what lies beside it by its ending."""

    path: str
    seed: int
    beside: Mapping[str, bytes]
    mtime_ns: int
    is_pickle: bool = False
    width: int = 768


@dataclass(frozen=True)
class Picture:
    """A row of `result_images`, and the content of its file; None if that is gone."""

    row: Mapping[str, Any]
    content: bytes | None


@dataclass(frozen=True)
class Library:
    """Files, the records of each (None: of files that are missing), and rows by model."""

    files: Sequence[LoraFile]
    records: Sequence[tuple[LoraFile | None, Mapping[str, Any]]]
    pictures: Sequence[Picture]
    rows: Mapping[type[Base], Sequence[Mapping[str, Any]]]


def plain_library(whose: str, numbers: Iterable[int], width: int = 768) -> Library:
    """A library that tells whose it is: model `lora {n}` with its record for each number, one
    result with a picture, the run it is counted by, a choice, a like, a preference, a collection
    and a stack.

    Of two libraries the records of a number have one id, and its files other contents.
    """
    files, records = [], []
    numbers = list(numbers)
    for number in numbers:
        path = f"folder {number % 3}/lora {number:03}.safetensors"
        beside = {".json": b'{"notes": "%s"}' % whose.encode(), ".png": whose.encode() * 100}
        mtime_ns = (1_700_000_000 + number) * 10**9
        files.append(LoraFile(path, number + len(whose), beside, mtime_ns, width=width))
        told = plain_row(
            Adapter,
            RECORD_COLUMNS,
            id=_id("adapter", number),
            name=f"lora {number:03}",
            notes=f"{whose} {number}",
            tags=[whose, "both"],
            favorite=True,
            weight=0.5,
            edited_fields=["favorite", "notes", "tags", "weight"],
        )
        records.append((files[-1], told))
    job_id = _id("job", whose)
    picture = plain_row(
        ResultImage,
        columns_of(ResultImage),
        job_id=job_id,
        number=0,
        width=8,
        height=8,
        file_path=f"2024-02-29/{job_id}-0.png",
    )
    rows: dict[type[Base], list[dict[str, Any]]] = {
        Choice: [{"name": "of somebody", "value": {"is": whose}}],
        ExcludedFile: [],
        FeedbackEvent: [
            plain_row(
                FeedbackEvent,
                columns_of(FeedbackEvent),
                id=_id("feedback", whose),
                kind="positive",
                adapter_id=_id("adapter", next(iter(numbers), 0)),
                reason=whose,
            )
        ],
        Preference: [
            plain_row(
                Preference,
                columns_of(Preference),
                id=_id("preference", whose),
                kind="tag",
                value=whose,
                confidence=0.5,
            )
        ],
        Collection: [
            plain_row(
                Collection,
                columns_of(Collection),
                id=_id("collection", whose),
                name=f"of {whose}",
            )
        ],
        CollectionAdapter: [
            plain_row(
                CollectionAdapter,
                columns_of(CollectionAdapter),
                collection_id=_id("collection", whose),
                adapter_id=_id("adapter", number),
                position=number,
            )
            for number in numbers[:1]
        ],
        Stack: [plain_row(Stack, columns_of(Stack), id=_id("stack", whose), name=f"of {whose}")],
        StackedAdapter: [
            plain_row(
                StackedAdapter,
                columns_of(StackedAdapter),
                stack_id=_id("stack", whose),
                adapter_id=_id("adapter", number),
                name=f"lora {number:03}",
                weight=0.5,
            )
            for number in numbers[:1]
        ],
        Job: [
            plain_row(
                Job,
                columns_of(Job),
                id=job_id,
                kind="generation",
                lane=GPU_LANE,
                status=SUCCEEDED,
                payload={"params": {"prompt": whose}},
                finished_at=_MOMENT,
            )
        ],
        JobAttempt: [],
        Result: [plain_row(Result, columns_of(Result), job_id=job_id, rating=4)],
        GenerationRun: [
            plain_row(GenerationRun, columns_of(GenerationRun), id=1, source="job", job_id=job_id)
        ],
        RunAdapter: [
            plain_row(RunAdapter, columns_of(RunAdapter), run_id=1, name=whose, weight=1.0)
        ],
    }
    return Library(files, records, [Picture(picture, whose.encode() * 1000)], rows)


def plain_row(model: type[Base], columns: Sequence[str], **given: Any) -> dict[str, Any]:
    """A row of these columns that says nothing but what is given."""
    table = model.__table__
    return {name: given.get(name, _nothing(table.c[name])) for name in columns}


def _nothing(column: Any) -> Any:
    kind, length = column.type, getattr(column.type, "length", None)
    if column.default is not None:
        return column.default.arg(None) if column.default.is_callable else column.default.arg
    if column.nullable:
        return None
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, Integer | Float):
        return 0
    return _MOMENT if length == len(_MOMENT) else ""


def _id(*of: object) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, repr(of)))


def build(library: Library, database: Database, root: Path, outputs: Path) -> None:
    """Write the files and the rows; the folders and the archived tables are empty before."""
    root.mkdir(parents=True, exist_ok=True)
    for file in library.files:
        _write(file, root)
    for picture in library.pictures:
        if picture.content is not None:
            path = outputs / picture.row["file_path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.content)
    with database.write() as session:
        insert_rows(session, library, root, outputs)


def insert_rows(session: WriteSession, library: Library, root: Path, outputs: Path) -> None:
    """Write the rows alone; a record whose file is not below `root` is one of a missing file."""
    records = [_record(root, file, told) for file, told in library.records]
    AdapterWriter(session).insert_rows(records)
    pictures = [
        {**picture.row, "file_path": str(outputs / picture.row["file_path"])}
        for picture in library.pictures
    ]
    attempts = [{**row, "owner": "a worker"} for row in library.rows[JobAttempt]]
    preferences = [{**row, "value_key": word_key(row["value"])} for row in library.rows[Preference]]
    sets = {
        model: [{**row, "name_key": word_key(row["name"])} for row in library.rows[model]]
        for model in (Collection, Stack)
    }
    rows = {
        **library.rows,
        **sets,
        ResultImage: pictures,
        JobAttempt: attempts,
        Preference: preferences,
    }
    for archived in TABLES:
        if rows[archived.model]:
            session.execute(insert(archived.model), list(rows[archived.model]))


def columns_of(model: type[Base]) -> tuple[str, ...]:
    """The archived columns of a table."""
    return next(table.columns for table in TABLES if table.model is model)


def stem_of(name: str) -> str:
    """A model file's name or path without its ending."""
    return name.rpartition(".")[0]


def empty(session: WriteSession) -> None:
    """Remove every row that `build` or an import adds."""
    for archived in reversed(TABLES):
        rows = delete(archived.table)
        session.execute(rows if archived.where is None else rows.where(archived.where))
    session.execute(delete(Adapter))
    assert session.scalar(select(Adapter.pk)) is None


def _write(file: LoraFile, root: Path) -> None:
    path = root / file.path
    if file.is_pickle:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PK a pickle nobody opens %d" % file.seed)
    else:
        write_lora(path, width=file.width, seed=file.seed)
    for ending, content in file.beside.items():
        side = path.with_name(f"{stem_of(path.name)}{ending}")
        side.write_bytes(content)
        os.utime(side, ns=(file.mtime_ns + 1, file.mtime_ns + 1))
    os.utime(path, ns=(file.mtime_ns, file.mtime_ns))


def _record(root: Path, file: LoraFile | None, told: Mapping[str, Any]) -> dict[str, Any]:
    """A whole row: what was drawn, and what the file decides."""
    if file is None or not (root / file.path).exists():
        path = root / "gone" / f"{told['id']}.safetensors"
        place: dict[str, Any] = {
            "file_path": str(path),
            "file_key": path_key(path),
            "folder": "gone",
            "file_state": "missing",
            "primary_file_local_path": str(path),
            "side_signature": "",
        }
    else:
        place = columns_from_file(find_file(root / file.path, [root]))
        place = {k: v for k, v in place.items() if k in _OF_FILE or k not in told}
        del place["stem"]
    row = {**told, **place}
    row["name_key"] = row["name"].casefold()
    row["version_key"] = row["version"] or ""
    row["search_text"] = search_text(row)
    return row
