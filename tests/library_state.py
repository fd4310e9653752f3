"""The state of an installation as people see it: rows, files and pictures, to be compared.

Two installations with their files in different places have equal states if they hold the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import select

from lora_manager_core.db.models import (
    Adapter,
    AdapterTag,
    GenerationRun,
    Job,
    JobAttempt,
    ResultImage,
    RunAdapter,
)
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.import_export.archive.tables import DERIVED_COLUMNS, RECORD_COLUMNS, TABLES

#: Derived columns whose value follows from the record, its files and its runs alone.
_FOLLOWING = (
    "name_key",
    "version_key",
    "search_text",
    "folder",
    "side_signature",
    "file_state",
    "use_count",
    "last_used_at",
)
#: Derived columns that are paths, compared from the library folder on.
_PATHS = ("file_path", "primary_file_local_path", "json_file_path", "preview_path")
#: The others: row numbers, keys of the paths above, and what only a backend can tell.
_OF_THE_PLACE = ("pk", "file_key", "file_sha256_problem", "prompt_name", "prompt_name_problem")
assert {*_FOLLOWING, *_PATHS, *_OF_THE_PLACE} == set(DERIVED_COLUMNS)

#: Columns that tell when something was done here: what is done twice differs in them.
_WHEN = ("updated_at", "last_ingested_at")

File = tuple[str, int]


@dataclass(frozen=True)
class State:
    """All that an archive is to bring back.

    `records` by id, `tables` by name with their rows in a fixed order, `files` by path below the
    library folders with their SHA-256 and time stamp, `pictures` by job and number with their
    SHA-256 (None: the file is gone).
    """

    records: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    files: Mapping[str, File]
    pictures: Mapping[tuple[str, int], str | None]

    def timeless(self) -> State:
        """The same without what only tells when it was done."""
        records = {
            key: {name: value for name, value in record.items() if name not in _WHEN}
            for key, record in self.records.items()
        }
        return replace(self, records=records)

    def differences(self, other: State) -> list[str]:
        """What is not the same, one line each; empty if nothing is."""
        parts = ("records", "tables", "files", "pictures")
        return [
            line
            for part in parts
            for line in _differences(part, getattr(self, part), getattr(other, part))
        ]


def read_state(database: Database, roots: Sequence[Path]) -> State:
    """The state now; `roots` are the library folders."""
    with database.read() as session:
        records = {
            row["id"]: {
                **{name: row[name] for name in (*RECORD_COLUMNS, *_FOLLOWING)},
                **{name: _relative(row[name], roots) for name in _PATHS},
                "adapter_tags": sorted(
                    tuple(tag)
                    for tag in session.execute(
                        select(AdapterTag.tag_key, AdapterTag.tag).where(
                            AdapterTag.adapter_pk == row["pk"]
                        )
                    )
                ),
            }
            for row in session.execute(select(Adapter.__table__)).mappings()
        }
        rows = {
            archived.name: [
                dict(row)
                for row in session.execute(
                    select(*(archived.table.c[name] for name in archived.columns)).where(
                        *(() if archived.where is None else (archived.where,))
                    )
                ).mappings()
            ]
            for archived in TABLES
        }
    jobs = {row["id"] for row in rows[Job.__tablename__]}
    attempts = rows[JobAttempt.__tablename__]
    rows[JobAttempt.__tablename__] = [row for row in attempts if row["job_id"] in jobs]
    pictures = {
        (row["job_id"], row["number"]): _sha256(Path(row.pop("file_path")))
        for row in rows[ResultImage.__tablename__]
    }
    runs = {row.pop("id"): row for row in rows[GenerationRun.__tablename__]}
    for run in runs.values():
        run["adapters"] = []  # row numbers may change, what belongs together may not
    for row in sorted(rows.pop(RunAdapter.__tablename__), key=lambda row: row["position"]):
        runs[row.pop("run_id")]["adapters"].append(row)
    ordered = {name: sorted(found, key=_order) for name, found in rows.items()}
    return State(records, ordered, dict(_files(roots)), pictures)


def _files(roots: Sequence[Path]) -> Iterator[tuple[str, File]]:
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file():
                sha256 = _sha256(path)
                assert sha256 is not None
                yield path.relative_to(root).as_posix(), (sha256, path.stat().st_mtime_ns)


def _sha256(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _relative(path: str | None, roots: Sequence[Path]) -> str | None:
    if path is None:
        return None
    inside = next((root for root in roots if Path(path).is_relative_to(root)), None)
    return path if inside is None else Path(path).relative_to(inside).as_posix()


def _order(row: Mapping[str, Any]) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)


def _differences(where: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other}, key=str):
            if key not in one or key not in other:
                yield f"{where}[{key!r}]: only in the {'second' if key in other else 'first'}"
            else:
                yield from _differences(f"{where}[{key!r}]", one[key], other[key])
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(f"{where}[{number}]", *pair)
    elif type(one) is not type(other) or one != other:
        yield f"{where}: {one!r} != {other!r}"
