"""Several versions of one model in the library, and which of them is the newest."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.library.alike.remembered import Remembered
from lora_manager_core.library.alike.repository import AlikeRows, VersionRow
from lora_manager_core.library.alike.schemas import VersionsQuery
from lora_manager_core.library.alike.version_names import VersionedName, versioned_name


@dataclass(frozen=True, slots=True)
class _Model:
    """`versions` are row numbers with what tells each version, the newest first.

    `newest` are of the newest version, which may lie in several files.
    """

    evidence: Literal["source", "name"]
    name: str
    source_model_id: str | None
    versions: tuple[tuple[int, str | None], ...]
    newest: frozenset[int]


class ModelVersionsService:
    """Finds them once for each state of the catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._models = Remembered(_models)

    def browse(self, asked: VersionsQuery) -> dict[str, Any]:
        """A page of models as `VersionsAnswer`."""
        with self._database.read() as session:
            models = self._models.of(session)
            chosen = [model for model in models if asked.evidence in (None, model.evidence)]
            part = chosen[(asked.page - 1) * asked.per_page : asked.page * asked.per_page]
            rows = AlikeRows(session).members([pk for model in part for pk, _ in model.versions])
        return {
            "items": [_described(model, rows) for model in part],
            "total": len(models),
            "filtered": len(chosen),
            "page": asked.page,
            "pages": math.ceil(len(chosen) / asked.per_page),
            "per_page": asked.per_page,
        }


def _models(session: ReadSession) -> list[_Model]:
    rows = AlikeRows(session)
    sourced = sorted(_by_source(rows.sourced()), key=lambda model: model.name)
    named = sorted(_by_name(rows.all_versions()), key=lambda model: model.name)
    return sourced + named


def _by_source(rows: Iterable[VersionRow]) -> Iterable[_Model]:
    of_model: dict[str, list[VersionRow]] = {}
    for row in rows:
        if row.source_model_id is not None and row.source_version_id is not None:
            of_model.setdefault(row.source_model_id, []).append(row)
    for model_id, own in of_model.items():
        if len({row.source_version_id for row in own}) > 1:
            own.sort(key=_published, reverse=True)
            yield _Model(
                evidence="source",
                name=PurePath(own[0].file_name).stem,
                source_model_id=model_id,
                versions=tuple((row.pk, row.source_version_id) for row in own),
                newest=frozenset(
                    row.pk for row in own if row.source_version_id == own[0].source_version_id
                ),
            )


def _published(row: VersionRow) -> tuple[str, int, str]:
    """Civitai counts versions up; the time of publication says it more surely."""
    version = row.source_version_id or ""
    return row.published_at or "", int(version) if version.isdecimal() else 0, version


def _by_name(rows: Iterable[VersionRow]) -> Iterable[_Model]:
    of_name: dict[tuple[str, str | None], list[tuple[VersionRow, VersionedName]]] = {}
    for row in rows:
        named = versioned_name(PurePath(row.file_name).stem)
        if named is not None:
            of_name.setdefault((named.key, row.base_model), []).append((row, named))
    for (key, _), all_own in of_name.items():
        own = _undecided(all_own)
        if len({named.mark[:3] for _, named in own}) < 2:
            continue
        own.sort(key=lambda one: (one[1].mark, one[0].pk), reverse=True)
        yield _Model(
            evidence="name",
            name=key,
            source_model_id=None,
            versions=tuple((row.pk, named.mark.text or None) for row, named in own),
            newest=frozenset(row.pk for row, named in own if named.mark[:3] == own[0][1].mark[:3]),
        )


def _undecided(
    own: Sequence[tuple[VersionRow, VersionedName]],
) -> list[tuple[VersionRow, VersionedName]]:
    """Those of which no source says already whether they are versions of one model."""
    known = {row.source_model_id for row, _ in own if row.source_model_id is not None}
    if not known or (len(known) == 1 and any(row.source_model_id is None for row, _ in own)):
        return list(own)
    return [one for one in own if one[0].source_model_id is None]


def _described(model: _Model, rows: dict[int, Any]) -> dict[str, Any]:
    return {
        "evidence": model.evidence,
        "name": model.name,
        "source_model_id": model.source_model_id,
        "versions": [
            {
                "lora_id": rows[number].id,
                "lora_name": rows[number].name,
                "file_path": rows[number].file_path,
                "file_size": rows[number].file_size,
                "base_model": rows[number].base_model,
                "version": rows[number].canonical_version_name or version,
                "published_at": rows[number].published_at,
                "is_newest": number in model.newest,
            }
            for number, version in model.versions
            if number in rows
        ],
    }
