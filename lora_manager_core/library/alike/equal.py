"""Equal files: groups of one hash, what they waste, and which of their records people touched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.library.alike.members import group_member
from lora_manager_core.library.alike.remembered import Remembered
from lora_manager_core.library.alike.repository import AlikeRows, EqualRow
from lora_manager_core.library.alike.schemas import DuplicatesQuery, EqualKind
from lora_manager_core.library.hashing.repository import HashCounts, HashStore


@dataclass(frozen=True, slots=True)
class _Group:
    kind: EqualKind
    sha256: str
    wasted_bytes: int
    numbers: tuple[int, ...]


class EqualFiles:
    """Finds them once for each state of the catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found = Remembered(_find)

    def browse(self, asked: DuplicatesQuery) -> dict[str, Any]:
        """A page of groups as `DuplicatesAnswer`: those that waste most first."""
        with self._database.read() as session:
            groups, counts = self._found.of(session)
            chosen = [group for group in groups if asked.kind in (None, group.kind)]
            part = chosen[(asked.page - 1) * asked.per_page : asked.page * asked.per_page]
            rows = AlikeRows(session).members([pk for group in part for pk in group.numbers])
        return {
            "items": [_described(group, rows) for group in part],
            "total": len(groups),
            "filtered": len(chosen),
            "page": asked.page,
            "pages": math.ceil(len(chosen) / asked.per_page),
            "per_page": asked.per_page,
            "compared": counts.done,
            "not_compared": counts.pending + counts.failed,
            "wasted_bytes": sum(group.wasted_bytes for group in groups),
            "uncertainty": None,
        }


def _find(session: ReadSession) -> tuple[list[_Group], HashCounts]:
    by_hash: dict[str, list[EqualRow]] = {}
    for row in AlikeRows(session).equal():
        by_hash.setdefault(row.sha256, []).append(row)
    groups = [group for rows in by_hash.values() if (group := _group(rows)) is not None]
    groups.sort(key=lambda group: (-group.wasted_bytes, group.sha256))
    return groups, HashStore(session).counts()


def _group(rows: Sequence[EqualRow]) -> _Group | None:
    """Several records of one file are no group, nor is a copy that was deleted without regret."""
    there = {row.file_key: row for row in rows if row.file_state == "present"}
    missed = [row for row in rows if row.file_state != "present" and row.touched]
    if not there or (len(there) == 1 and not missed):
        return None
    size = next(iter(there.values())).file_size
    return _Group(
        kind="equal" if len(there) > 1 else "moved",
        sha256=rows[0].sha256,
        wasted_bytes=size * (len(there) - 1),
        numbers=tuple(row.pk for row in rows if row.file_key in there or row in missed),
    )


def _described(group: _Group, rows: dict[int, Any]) -> dict[str, Any]:
    members = [group_member(rows[number]) for number in group.numbers if number in rows]
    members.sort(key=lambda member: (not member["touched"], member["created_at"]))
    return {
        "kind": group.kind,
        "members": members,
        "sha256": group.sha256,
        "wasted_bytes": group.wasted_bytes,
        "pairs": [],
        "pairs_total": 0,
    }
