"""Whether records and rows of an archive can be stored: their columns, types, lengths and bounds.

They are held against the schema that they will be inserted into, and against what the API lets a
person set. References from one row to another are the importer's to check.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from functools import cache, partial
from typing import Any, cast

from pydantic import ValidationError
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, Table
from sqlalchemy.types import TypeEngine

from lora_manager_core.adapters.schemas import TriggerGroup
from lora_manager_core.common.lora_tokens import MAX_WEIGHT, unwritable_characters
from lora_manager_core.db.models import (
    FEEDBACK_KINDS,
    PREFERENCE_KINDS,
    Adapter,
    Job,
    JobAttempt,
)
from lora_manager_core.db.types import JsonText
from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.tables import RECORD_COLUMNS, ArchivedTable
from lora_manager_core.library.files.names import shown
from lora_manager_core.queueing.base import CANCELLED, DELIVERY_LANE, ENDED, GPU_LANE, UNFINISHED
from lora_manager_core.queueing.store import ABANDONED, RELEASED

#: orjson writes no JSON that is nested deeper than 254.
_MAX_DEPTH = 200
_MAX_DIMENSION = 1_000_000
_UUID_LENGTH = 36
_TIME_LENGTH = 27

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_ADAPTERS = cast(Table, Adapter.__table__)

_Problem = str | None
_Check = Callable[[Any], _Problem]


def check_record(given: Any, what: str, *, is_older: bool = False) -> dict[str, Any]:
    """All columns of an adapter, as our own archives have them.

    Where the archive `is_older` than the schema here, columns that it lacks get their defaults.

    Raises:
        ArchiveRefused: columns are missing, unknown, or cannot be stored; `what` says whose.
    """
    if is_older:
        given = _completed(_ADAPTERS.columns, RECORD_COLUMNS, given)
    return _checked(_ADAPTERS, RECORD_COLUMNS, given, what)


def check_columns(given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Some columns of an adapter, as other makers have them; raises as `check_record` does."""
    return _checked(_ADAPTERS, tuple(given), given, what)


def check_row(
    table: ArchivedTable, given: Any, what: str, *, may_lack: str = "", is_older: bool = False
) -> dict[str, Any]:
    """One row of a table; unfinished jobs come out as cancelled, for nothing of an archive runs.

    `may_lack` names a column that not every archive has; for `is_older`, and what is raised, see
    `check_record`.
    """
    columns = tuple(
        name
        for name in table.columns
        if name != may_lack or (isinstance(given, dict) and name in given)
    )
    if is_older:
        given = _completed(table.table.columns, columns, given)
    row = _checked(table.table, columns, given, what)
    if table.model is Job and row["status"] in UNFINISHED:
        return _cancelled(row)
    if table.model is JobAttempt and row["outcome"] is None:
        return {**row, "outcome": ABANDONED, "ended_at": row["ended_at"] or row["started_at"]}
    return row


def is_id(value: Any) -> bool:
    """Whether this is a UUID as we write them."""
    if not isinstance(value, str) or len(value) != _UUID_LENGTH:
        return False
    try:
        return str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _checked(table: Table, wanted: Collection[str], given: Any, what: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _refused(what, "it is not a JSON object")
    unknown = sorted(given.keys() - set(wanted))
    if unknown:
        raise _refused(what, f"it has a field “{shown(unknown[0])}” that is not known here")
    checks = _checks_of(table)
    for name in wanted:
        if name not in given:
            raise _refused(what, f"its field “{name}” is missing")
        problem = checks[name](given[name])
        if problem:
            raise _refused(what, f"its field “{name}” {problem}")
    return {name: given[name] for name in wanted}


def _completed(columns: Any, wanted: Collection[str], given: Any) -> Any:
    """With the defaults of columns that came later; what must have a value and has none stays."""
    if not isinstance(given, dict):
        return given
    added: dict[str, Any] = {}
    for name in wanted:
        default = columns[name].default
        if name in given:
            continue
        if default is not None:
            added[name] = default.arg(None) if default.is_callable else default.arg
        elif columns[name].nullable:
            added[name] = None
    return {**given, **added}


@cache
def _checks_of(table: Table) -> Mapping[str, _Check]:
    """What says what is wrong with a value of each column, as the end of a sentence."""
    return {column.name: _check_of(column) for column in table.columns}


def _check_of(column: Column[Any]) -> _Check:
    by_type = _type_check(column.type)
    rule = _RULES.get(f"{column.table.name}.{column.name}", lambda _: None)
    nullable = column.nullable

    def _check(value: Any) -> _Problem:
        if value is None:
            return None if nullable else "may not be null"
        return by_type(value) or rule(value)

    return _check


def _type_check(kind: TypeEngine[Any]) -> _Check:
    if isinstance(kind, JsonText):
        return _json_problem
    if isinstance(kind, Boolean):
        return lambda value: None if type(value) is bool else "is neither true nor false"
    if isinstance(kind, Integer):
        return partial(_whole_problem, bits=63 if isinstance(kind, BigInteger) else 31)
    if isinstance(kind, Float):
        return _number_problem
    length = getattr(kind, "length", None)
    if length == _UUID_LENGTH:
        return lambda value: None if is_id(value) else "is not an id (UUID)"
    if length == _TIME_LENGTH:
        return lambda value: None if _is_time(value) else "is not a time"
    return partial(_text_problem, length=length)


def _whole_problem(value: Any, bits: int) -> _Problem:
    if type(value) is not int:
        return "is not a whole number"
    return None if -(2**bits) <= value < 2**bits else "is too large a number"


def _number_problem(value: Any) -> _Problem:
    if type(value) not in (int, float):
        return "is not a number"
    return None if math.isfinite(value) else "is not finite"


def _text_problem(value: Any, length: int | None) -> _Problem:
    if not isinstance(value, str):
        return "is not a text"
    if "\0" in value:
        return "holds a NUL character, which cannot be stored"
    if length is not None and len(value) > length:
        return f"is longer than {length} characters"
    return None


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value[:-1] + "+00:00")
    except ValueError:
        return False
    return True


def _json_problem(value: Any) -> _Problem:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            return "is nested too deeply"
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            return "holds a number that is not finite"
        level = [child for item in level for child in _children(item)]
    return None


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _between(low: float, high: float) -> _Check:
    return lambda value: None if low <= value <= high else f"is not between {low:g} and {high:g}"


def _one_of(*words: str) -> _Check:
    return lambda value: None if value in words else f"is none of {', '.join(words)}"


def _object(value: Any) -> _Problem:
    return None if isinstance(value, dict) else "is not a JSON object"


def _words(value: Any) -> _Problem:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        return "is not a list of texts"
    return "holds a NUL character" if any("\0" in word for word in value) else None


def _not_blank(value: str) -> _Problem:
    return None if value.strip() else "is empty"


def _trigger_groups(value: Any) -> _Problem:
    if not isinstance(value, list):
        return "is not a list"
    try:
        for group in value:
            TriggerGroup.model_validate(group)
    except ValidationError:
        return "holds something that is no group of trigger words"
    return None


def _name(value: str) -> _Problem:
    if not value.strip():
        return "is empty"
    unwritable = unwritable_characters(value)
    return f"holds {' '.join(unwritable)!r}, which no prompt can" if unwritable else None


_weight = _between(-MAX_WEIGHT, MAX_WEIGHT)
_count = _between(0, 2**63)
#: Numbers that the database goes on counting from.
_row_number = _between(1, 2**53)
_size = _between(1, _MAX_DIMENSION)
_rating = _between(1, 5)

#: What must be true of a value beyond its type, by table and column.
_RULES: Mapping[str, _Check] = {
    "adapters.name": _name,
    "adapters.weight": _weight,
    "adapters.weight_min": _weight,
    "adapters.weight_max": _weight,
    "adapters.weight_te": _weight,
    "adapters.archetype_confidence": _between(0, 1),
    "adapters.nsfw_level": _between(0, 64),
    "adapters.rating": _rating,
    "adapters.ordinal": _between(-1_000_000_000, 1_000_000_000),
    "adapters.visibility": _one_of("Public", "Private", "Unlisted"),
    "adapters.origin": _one_of("person", "scan"),
    "adapters.file_size": _count,
    "adapters.tags": _words,
    "adapters.trained_words": _words,
    "adapters.triggers": _words,
    "adapters.edited_fields": _words,
    "adapters.trigger_groups": _trigger_groups,
    "adapters.chosen_groups": _words,
    "adapters.stats": _object,
    "adapters.extra": _object,
    "feedback_events.kind": _one_of(*FEEDBACK_KINDS),
    "preferences.kind": _one_of(*PREFERENCE_KINDS),
    "preferences.confidence": _between(0, 1),
    "collections.name": _not_blank,
    "collections.query": _object,
    "stacks.name": _not_blank,
    "stack_entries.position": _between(0, 2**31 - 1),
    "stack_entries.weight": _weight,
    "stack_entries.weight_te": _weight,
    "stack_entries.trigger_groups": _words,
    "jobs.lane": _one_of(GPU_LANE, DELIVERY_LANE),
    "jobs.status": _one_of(*UNFINISHED, *ENDED),
    "jobs.payload": _object,
    "jobs.result": _object,
    "jobs.error": _object,
    "jobs.progress": _between(0, 1),
    "jobs.attempts": _count,
    "jobs.retries_left": _count,
    "job_attempts.number": _count,
    "job_attempts.outcome": _one_of(*ENDED, RELEASED, ABANDONED),
    "job_attempts.error": _object,
    "results.rating": _rating,
    "result_images.number": _count,
    "result_images.width": _size,
    "result_images.height": _size,
    "generation_runs.id": _row_number,
    "generation_runs.images": _count,
    "generation_runs.duration_s": _count,
    "run_adapters.run_id": _row_number,
    "run_adapters.position": _count,
}


def _cancelled(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **row,
        "status": CANCELLED,
        "finished_at": row["finished_at"] or row["started_at"] or row["created_at"],
        "not_before": None,
        "error": {
            "code": "job_not_taken_along",
            "detail": "The job had not ended when the archive was made; begin it again if it is "
            "still wanted.",
            "status": 409,
        },
    }


def _refused(what: str, why: str) -> ArchiveRefused:
    return ArchiveRefused(f"The archive is refused: {what} cannot be stored: {why}.")
