"""The queries about adapters that are alike: by hash, by name, by model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, or_, select

from lora_manager_core.adapters.writer import is_untouched
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import ReadSession

#: Values per statement where they are listed (SQLite allows 32,766 parameters).
_CHUNK = 5000


class EqualRow(NamedTuple):
    """What decides whether two records of one hash are two files."""

    pk: int
    sha256: str
    file_key: str
    file_state: str
    file_size: int
    touched: bool


class NamedRow(NamedTuple):
    """A file that is there, with what resolves to it."""

    pk: int
    file_path: str
    file_key: str


class VersionRow(NamedTuple):
    """A file that is there, with what tells its version."""

    pk: int
    file_name: str
    base_model: str | None
    source_model_id: str | None
    source_version_id: str | None
    published_at: str | None


_MEMBER = (
    Adapter.pk,
    Adapter.id,
    Adapter.name,
    Adapter.file_path,
    Adapter.file_size,
    Adapter.file_state,
    Adapter.origin,
    Adapter.edited_fields,
    Adapter.active,
    Adapter.use_count,
    Adapter.created_at,
    Adapter.network_type,
    Adapter.base_model,
    Adapter.rank,
    Adapter.weight,
    Adapter.prompt_name,
    Adapter.prompt_name_problem,
    Adapter.canonical_version_name,
    Adapter.published_at,
)


class AlikeRows:
    """Reads what is alike."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def equal(self) -> list[EqualRow]:
        """All records of every hash that more than one record has."""
        repeated = (
            select(Adapter.primary_file_sha256)
            .where(Adapter.primary_file_sha256.is_not(None))
            .group_by(Adapter.primary_file_sha256)
            .having(func.count() > 1)
        )
        hashes = list(self._session.scalars(repeated))
        columns = (
            Adapter.pk,
            Adapter.primary_file_sha256,
            Adapter.file_key,
            Adapter.file_state,
            Adapter.file_size,
            Adapter.origin,
            Adapter.edited_fields,
        )
        found: list[EqualRow] = []
        for chunk in _chunks(hashes):
            query = select(*columns).where(Adapter.primary_file_sha256.in_(chunk))
            for row in self._session.execute(query):
                sha256 = row.primary_file_sha256 or ""
                touched = not is_untouched(row)
                found.append(
                    EqualRow(row.pk, sha256, row.file_key, row.file_state, row.file_size, touched)
                )
        return found

    def without_plain_name(self) -> list[NamedRow]:
        """The files that do not answer to their base name: whatever shares one is among them."""
        name = Adapter.prompt_name
        query = select(Adapter.pk, Adapter.file_path, Adapter.file_key).where(
            Adapter.file_state == "present",
            or_(name.is_(None), *(name.contains(sign, autoescape=True) for sign in "/\\.")),
        )
        return [NamedRow(pk, path, key) for pk, path, key in self._session.execute(query)]

    def taken_file_names(self, names: Sequence[str]) -> set[str]:
        """Which of these names files have, in any folder."""
        found: set[str] = set()
        for chunk in _chunks(names):
            query = select(Adapter.primary_file_name).where(Adapter.primary_file_name.in_(chunk))
            found.update(name for name in self._session.scalars(query) if name)
        return found

    def sourced(self) -> list[VersionRow]:
        """The files of models that more than one file is of, by what side files tell."""
        repeated = (
            select(Adapter.source_model_id)
            .where(Adapter.source_model_id.is_not(None))
            .group_by(Adapter.source_model_id)
            .having(func.count() > 1)
        )
        return self._versions(Adapter.source_model_id.in_(repeated))

    def all_versions(self) -> list[VersionRow]:
        """All files."""
        return self._versions()

    def members(self, numbers: Sequence[int]) -> dict[int, Any]:
        """What is shown of those records, by row number."""
        found: dict[int, Any] = {}
        for chunk in _chunks(numbers):
            rows = self._session.execute(select(*_MEMBER).where(Adapter.pk.in_(chunk)))
            found.update((row.pk, row) for row in rows)
        return found

    def members_of(self, adapter_ids: Sequence[str]) -> dict[str, Any]:
        """The same by id."""
        found: dict[str, Any] = {}
        for chunk in _chunks(adapter_ids):
            rows = self._session.execute(select(*_MEMBER).where(Adapter.id.in_(chunk)))
            found.update((row.id, row) for row in rows)
        return found

    def _versions(self, *where: ColumnElement[bool]) -> list[VersionRow]:
        query = select(
            Adapter.pk,
            Adapter.primary_file_name,
            Adapter.base_model,
            Adapter.source_model_id,
            Adapter.source_version_id,
            Adapter.published_at,
        ).where(Adapter.file_state == "present", Adapter.primary_file_name.is_not(None), *where)
        return [
            VersionRow(pk, file_name or "", *more)
            for pk, file_name, *more in self._session.execute(query)
        ]


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]
