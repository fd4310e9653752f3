"""The queries of a scan: what is known of each file, and changes of many records at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import Adapter, ExcludedFile
from lora_manager_core.db.unit_of_work import ReadSession

_Value = TypeVar("_Value")

#: Rows per statement where they are listed in it (SQLite allows 32,766 parameters).
_CHUNK = 5000
#: Conditions on texts in one statement; each is one more comparison for every record.
_FEW = 40


class KnownFile(NamedTuple):
    """What the catalogue knows of one file, enough to see whether it changed.

    A tuple, because a rescan makes one of every record.
    """

    pk: int
    name: str
    path: str
    key: str
    size: int
    mtime_ns: int
    side_signature: str
    state: str
    prompt_name: str | None
    prompt_name_problem: str | None

    @property
    def is_present(self) -> bool:
        """Whether its file was there."""
        return self.state == "present"


class LibraryRecords:
    """The catalogue as a scan reads it."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def known_files(self) -> list[KnownFile]:
        """Every record's file."""
        return self._known(None)

    def known_at(self, keys: Collection[str], below: Collection[str]) -> list[KnownFile]:
        """The records of these files, and of all files below these folders, by comparison key."""
        found: dict[int, KnownFile] = {}
        for some in _chunks(list(keys), _CHUNK):
            found.update((known.pk, known) for known in self._known(Adapter.file_key.in_(some)))
        for some in _chunks(list(below), _FEW):
            beginnings = [folder.rstrip(os.sep) + os.sep for folder in some]
            inside = or_(*(_begins(Adapter.file_key, text) for text in beginnings))
            found.update((known.pk, known) for known in self._known(inside))
        return list(found.values())

    def known_like(self, marks: Collection[tuple[int, int]]) -> list[KnownFile]:
        """The records whose file has one of these sizes together with its time stamp."""
        found: list[KnownFile] = []
        for some in _chunks(list(marks), _CHUNK):
            sizes, stamps = {size for size, _ in some}, {stamp for _, stamp in some}
            where = Adapter.file_size.in_(sizes) & Adapter.file_mtime_ns.in_(stamps)
            found.extend(k for k in self._known(where) if (k.size, k.mtime_ns) in marks)
        return found

    def known_named(self, names: Collection[str]) -> list[KnownFile]:
        """The records whose file may carry one of these base names, `.` as `_`; perhaps more."""
        if len(names) > _FEW:
            return self.known_files()
        plain = func.replace(Adapter.file_key, ".", "_")
        texts = (f"{os.sep}{os.path.normcase(name)}_" for name in names)
        return self._known(or_(*(plain.contains(text, autoescape=True) for text in texts)))

    def _known(self, where: ColumnElement[bool] | None) -> list[KnownFile]:
        query = select(
            Adapter.pk,
            Adapter.name,
            Adapter.file_path,
            Adapter.file_key,
            Adapter.file_size,
            Adapter.file_mtime_ns,
            Adapter.side_signature,
            Adapter.file_state,
            Adapter.prompt_name,
            Adapter.prompt_name_problem,
        )
        if where is not None:
            query = query.where(where)
        return [KnownFile._make(row) for row in self._session.connection().execute(query).all()]

    def excluded_keys(self) -> set[str]:
        """Keys of the files that people took out."""
        return set(self._session.scalars(select(ExcludedFile.file_key)))

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Which of these files have a record by now."""
        query = select(Adapter.file_key).where(Adapter.file_key.in_(keys))
        return set(self._session.scalars(query))

    def known_names(self, names: Sequence[str]) -> set[str]:
        """Which of these names some record has by now."""
        return set(self._session.scalars(select(Adapter.name).where(Adapter.name.in_(names))))

    def by_row_number(self, numbers: Sequence[int]) -> dict[int, Adapter]:
        """The records with those row numbers."""
        found = self._session.scalars(select(Adapter).where(Adapter.pk.in_(numbers)))
        return {adapter.pk: adapter for adapter in found}

    def counts(self) -> dict[str, int]:
        """How many records there are, and how many are unreadable or missing."""
        query = select(
            func.count(),
            func.count(Adapter.file_problem),
            func.count().filter(Adapter.file_state == "missing"),
        )
        total, unreadable, missing = self._session.execute(query).one()
        return {"total": total, "unreadable": unreadable, "missing": missing}


class LibraryWriter(AdapterWriter):
    """The catalogue as a scan changes it."""

    def mark_missing(self, numbers: Sequence[int], updated_at: str) -> None:
        """Say of many records that their file is gone."""
        self._session.execute(
            update(Adapter)
            .where(Adapter.pk.in_(numbers))
            .values(file_state="missing", updated_at=updated_at)
            .execution_options(synchronize_session=False)
        )
        self._bump()

    def set_prompt_names(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store what resolves to each file, by row number."""
        if rows:
            self._session.execute(update(Adapter), rows)
            self._bump()


def _begins(column: InstrumentedAttribute[str], text: str) -> ColumnElement[bool]:
    return func.substr(column, 1, len(text)) == text


def _chunks(values: Sequence[_Value], size: int) -> Iterator[Sequence[_Value]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
