"""The queries of hashing: which files are due, how it stands, and storing what was made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, literal_column, select, update
from sqlalchemy.orm import aliased

from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.library.hashing.digest import FileHashes
from lora_manager_core.library.hashing.known import HashableFile
from lora_manager_core.library.hashing.workers import HashedFile

DONE = "done"
PENDING = "pending"
FAILED = "failed"

#: Rows per statement where row numbers are listed.
_CHUNK = 5000
#: Literal, for only so does SQLite see that the partial indexes serve.
_UNHASHED = Adapter.file_sha256_state != literal_column("'done'")
_NOT_PRESENT = Adapter.file_state != literal_column("'present'")


@dataclass(frozen=True, slots=True)
class HashProblem:
    """A file that could not be hashed."""

    adapter_id: str
    file_path: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class HashCounts:
    """Records whose file is there, by state; `pending_bytes` are still to be read."""

    done: int
    pending: int
    failed: int
    pending_bytes: int


class HashStore:
    """Reads the state of hashing."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def any_due(self) -> bool:
        """Whether a file that is there was not hashed yet."""
        query = select(Adapter.pk).where(_UNHASHED, _is(PENDING)).limit(1)
        return self._session.scalar(query) is not None

    def due(self) -> list[HashableFile]:
        """The files to hash: first those that may be a missing one moved, then by folder."""
        gone = aliased(Adapter)
        may_be_moved = exists().where(
            gone.file_state == "missing",
            gone.file_size == Adapter.file_size,
            gone.primary_file_sha256.is_not(None),
        )
        query = select(*_FILE).where(_UNHASHED, _is(PENDING))
        first = query.where(may_be_moved) if self._any_gone() else None
        rows = [] if first is None else list(self._session.execute(first.order_by(*_ORDER)))
        seen = {row[0] for row in rows}
        rows += [
            row for row in self._session.execute(query.order_by(*_ORDER)) if row[0] not in seen
        ]
        return _by_file(tuple(row) for row in rows)

    def file_of(self, adapter_id: str) -> HashableFile | None:
        """The file of one record, whatever its state; None if there is no such record."""
        row = self._session.execute(select(*_FILE).where(Adapter.id == adapter_id)).first()
        return _by_file([tuple(row)])[0] if row is not None else None

    def counts(self) -> HashCounts:
        """How it stands with all files that are there."""
        query = (
            select(Adapter.file_sha256_state, func.count(), func.sum(Adapter.file_size))
            .where(_UNHASHED, Adapter.file_state == "present")
            .group_by(Adapter.file_sha256_state)
        )
        rows = {state: (int(n), int(size or 0)) for state, n, size in self._session.execute(query)}
        total = self._session.scalar(select(func.count()).select_from(Adapter)) or 0
        gone = (
            self._session.scalar(select(func.count()).select_from(Adapter).where(_NOT_PRESENT)) or 0
        )
        pending, pending_bytes = rows.get(PENDING, (0, 0))
        failed, _ = rows.get(FAILED, (0, 0))
        return HashCounts(total - gone - pending - failed, pending, failed, pending_bytes)

    def problems(self, most: int) -> list[HashProblem]:
        """The files that failed, the first by path."""
        query = (
            select(Adapter.id, Adapter.file_path, Adapter.file_sha256_problem)
            .where(_UNHASHED, _is(FAILED))
            .order_by(Adapter.file_path)
            .limit(most)
        )
        return [HashProblem(*row) for row in self._session.execute(query)]

    def _any_gone(self) -> bool:
        return self._session.scalar(select(Adapter.pk).where(_NOT_PRESENT).limit(1)) is not None


class HashWriter(AdapterWriter):
    """Writes the state of hashing."""

    def put(self, results: Sequence[HashedFile]) -> set[int]:
        """Store what was made of files that are still what they were; gives the rows that took it.

        A record whose file changed meanwhile, by size, time stamp or path, stays as it is.
        """
        made = {
            number: result
            for result in results
            if result.hashes is not None or result.problem is not None
            for number in result.file.numbers
        }
        current = self._current(list(made))
        changes = [
            {"pk": number, **_columns(result)}
            for number, result in made.items()
            if current.get(number) == _mark(result.file)
        ]
        if changes:
            self._session.execute(update(Adapter), changes)
            self._bump()
        return {change["pk"] for change in changes}

    def told_otherwise(self, numbers: Collection[int]) -> list[tuple[str, str]]:
        """Id and path of those of these records whose side files tell of another hash."""
        query = select(
            Adapter.id, Adapter.file_path, Adapter.primary_file_sha256, Adapter.extra
        ).where(Adapter.pk.in_(numbers), Adapter.primary_file_sha256.is_not(None))
        return [
            (adapter_id, path)
            for adapter_id, path, sha256, extra in self._session.execute(query)
            if (extra or {}).get("sha256_told", sha256) != sha256
        ]

    def forget_failures(self) -> None:
        """Have the files that could not be hashed tried again."""
        self._session.execute(
            update(Adapter)
            .where(_UNHASHED, _is(FAILED))
            .values(file_sha256_state=PENDING, file_sha256_problem=None)
            .execution_options(synchronize_session=False)
        )
        self._bump()

    def _current(self, numbers: Sequence[int]) -> dict[int, _Mark]:
        found: dict[int, _Mark] = {}
        for start in range(0, len(numbers), _CHUNK):
            query = (
                select(Adapter.pk, Adapter.file_path, Adapter.file_size, Adapter.file_mtime_ns)
                .where(Adapter.pk.in_(numbers[start : start + _CHUNK]))
                .where(Adapter.file_state == "present")
                .with_for_update()
            )
            rows = self._session.execute(query)
            found.update((number, (path, size, mtime)) for number, path, size, mtime in rows)
        return found


_Mark = tuple[str, int, int]
_FILE = (Adapter.pk, Adapter.file_path, Adapter.file_size, Adapter.file_mtime_ns)
_ORDER = (Adapter.folder, Adapter.file_path)


def hash_columns(hashes: FileHashes) -> dict[str, Any]:
    """What a record tells of a file that was hashed."""
    return {
        "file_sha256_state": DONE,
        "file_sha256_problem": None,
        "primary_file_sha256": hashes.whole,
        "autov2": hashes.autov2,
        "tensors_sha256": hashes.tensors,
        "autov3": hashes.autov3,
    }


def _columns(result: HashedFile) -> Mapping[str, Any]:
    if result.hashes is not None:
        return hash_columns(result.hashes)
    return {
        "file_sha256_state": FAILED,
        "file_sha256_problem": result.problem,
        "primary_file_sha256": None,
        "autov2": None,
        "tensors_sha256": None,
        "autov3": None,
    }


def _mark(file: HashableFile) -> _Mark:
    return file.path, file.size, file.mtime_ns


def _by_file(rows: Iterable[Sequence[Any]]) -> list[HashableFile]:
    """One for each file, with all records of it; records of one file follow each other."""
    numbers: dict[_Mark, list[int]] = {}
    for number, path, size, mtime_ns in rows:
        numbers.setdefault((path, size, mtime_ns), []).append(number)
    return [HashableFile(*mark, tuple(own)) for mark, own in numbers.items()]


def _is(state: str) -> ColumnElement[bool]:
    return and_(Adapter.file_sha256_state == state, Adapter.file_state == "present")
