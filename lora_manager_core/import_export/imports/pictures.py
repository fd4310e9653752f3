"""Where the pictures of archived results go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import select

from lora_manager_core.common.paths import is_inside
from lora_manager_core.db.models import ResultImage
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.imports.placing import Places
from lora_manager_core.import_export.imports.plan import PlannedFile, TableDecisions
from lora_manager_core.import_export.imports.repository import chunks

#: A picture by its archived job and its number.
PictureKey = tuple[str, int]


class PictureLayout(Protocol):
    """The output folder, and where in it a picture belongs."""

    @property
    def folder(self) -> Path:
        """The output folder."""

    def place(self, day: str, job_id: str, number: int) -> Path:
        """The file of a picture; `day` is such as `2026-01-31`."""


class PicturePlanner:
    """Decides for one archive. With `restore`, pictures go where they were."""

    def __init__(
        self,
        session: ReadSession,
        archive: Archive,
        decided: TableDecisions,
        places: Places,
        layout: PictureLayout,
        restore: bool,
    ) -> None:
        self._session = session
        self._archive = archive
        self._decided = decided
        self._places = places
        self._layout = layout
        self._restore = restore

    def make(self) -> tuple[dict[PictureKey, Path], list[PlannedFile]]:
        """Where each picture will be, and what is to be written for that."""
        paths: dict[PictureKey, Path] = {}
        writes: list[PlannedFile] = []
        pictures = self._archive.pictures()
        giving_way = self._giving_way()
        for row in self._rows():
            key = (row["job_id"], row["number"])
            own = giving_way.get(key) or self._where_it_was(row)
            path, file = own or self._new_place(row), pictures.get(key)
            replace = False
            if file is not None and path.exists():
                if self._places.is_same(file, path):
                    file = None
                elif own is None:
                    path = _free(path)
                else:
                    replace = True
            if file is not None:
                writes.append(PlannedFile(file, path, replace))
            paths[key] = path
        return paths, writes

    def _rows(self) -> Iterator[dict[str, Any]]:
        if "result_images" in self._archive.tables():
            for row in self._archive.rows("result_images"):
                if row["job_id"] in self._decided.jobs:
                    yield row

    def _giving_way(self) -> Mapping[PictureKey, Path]:
        """The pictures here of results that are replaced."""
        found: dict[PictureKey, Path] = {}
        columns = (ResultImage.job_id, ResultImage.number, ResultImage.file_path)
        for chunk in chunks(self._decided.gone):
            query = select(*columns).where(ResultImage.job_id.in_(chunk))
            for job_id, number, path in self._session.execute(query):
                if is_inside(Path(path), self._layout.folder):
                    found[job_id, number] = Path(path)
        return found

    def _where_it_was(self, row: Mapping[str, Any]) -> Path | None:
        told = row.get("file_path")
        if not self._restore or not told:
            return None
        path = Path(told)
        return path if path.is_absolute() and is_inside(path, self._layout.folder) else None

    def _new_place(self, row: Mapping[str, Any]) -> Path:
        job_id = self._decided.jobs[row["job_id"]]
        return self._layout.place(row["created_at"][:10], job_id, row["number"])


def _free(path: Path) -> Path:
    number = 2
    while path.with_name(f"{path.stem} {number}{path.suffix}").exists():
        number += 1
    return path.with_name(f"{path.stem} {number}{path.suffix}")
