"""Files that share one name in prompts, each with a token of its own or a way to get one.

What resolves to which file is what the backend says; it is kept with the records by scans. Here it
is only found which files of one base name do not answer to it, for none of them does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from lora_manager_core.common.lora_tokens import format_token, writable_name
from lora_manager_core.common.paths import MODEL_SUFFIXES
from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.library.alike.remembered import Remembered
from lora_manager_core.library.alike.repository import AlikeRows, NamedRow
from lora_manager_core.library.alike.schemas import PageQuery
from lora_manager_core.library.plan import base_name

#: So many free names are looked for at once.
_TRIES = 9

_Group = tuple[str, tuple[int, ...]]


class NameConflicts:
    """Finds them once for each state of the catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._groups = Remembered(_groups)

    def browse(self, asked: PageQuery) -> dict[str, Any]:
        """A page of groups as `ConflictsAnswer`, by name."""
        with self._database.read() as session:
            groups = self._groups.of(session)
            part = groups[(asked.page - 1) * asked.per_page : asked.page * asked.per_page]
            rows = AlikeRows(session).members([pk for _, numbers in part for pk in numbers])
            nameless = [row for row in rows.values() if row.prompt_name is None]
            free = _free_names(session, [row.file_path for row in nameless])
        return {
            "items": [
                {
                    "name": name,
                    "members": [
                        _member(rows[number], free) for number in numbers if number in rows
                    ],
                }
                for name, numbers in part
            ],
            "total": len(groups),
            "page": asked.page,
            "pages": math.ceil(len(groups) / asked.per_page),
            "per_page": asked.per_page,
        }


def _groups(session: ReadSession) -> list[_Group]:
    by_name: dict[str, list[NamedRow]] = {}
    for row in AlikeRows(session).without_plain_name():
        by_name.setdefault(base_name(row.file_path), []).append(row)
    return sorted(
        (name, tuple(row.pk for row in sorted(rows, key=lambda row: row.file_path)))
        for name, rows in by_name.items()
        if len({row.file_key for row in rows}) > 1
    )


def _free_names(session: ReadSession, paths: Sequence[str]) -> dict[str, str]:
    """For each file a name that none has: its own with that of its folder, or a number."""
    tries = {path: [_with(path, end) for end in _ends(path)] for path in paths}
    asked = {
        f"{stem}{suffix}" for stems in tries.values() for stem in stems for suffix in MODEL_SUFFIXES
    }
    taken = {base_name(name) for name in AlikeRows(session).taken_file_names(sorted(asked))}
    free: dict[str, str] = {}
    for path, stems in tries.items():
        stem = next((stem for stem in stems if stem not in taken), None)
        if stem is not None:
            taken.add(stem)
            free[path] = stem + PurePath(path).suffix
    return free


def _ends(path: str) -> list[str]:
    folder = writable_name(PurePath(path).parent.name).replace(".", "_")
    return [folder, *(f"{folder}_{number}" for number in range(2, 2 + _TRIES))]


def _with(path: str, end: str) -> str:
    return f"{writable_name(base_name(path))}_{end}"


def _member(row: Any, free: dict[str, str]) -> dict[str, Any]:
    name = row.prompt_name
    return {
        "lora_id": row.id,
        "lora_name": row.name,
        "file_path": row.file_path,
        "prompt_name": name,
        "token": format_token(name, row.weight) if name is not None else None,
        "problem": row.prompt_name_problem,
        "rename_to": free.get(row.file_path),
    }
