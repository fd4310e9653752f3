"""What a person does with finished pictures: look, rate, keep as a favourite, delete."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row

from lora_manager_core.common.thumbnails import ThumbnailFolder
from lora_manager_core.common.words import search_words
from lora_manager_core.db.models import ResultImage
from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.errors import InvalidRequest, NotFound, ResultNotFound
from lora_manager_core.generation.jobs import image_url
from lora_manager_core.generation.pictures import PictureFolder
from lora_manager_core.generation.repository import ResultQuery, Results, ResultWriter
from lora_manager_core.generation.result_schemas import (
    ResultBulkRequest,
    ResultListQuery,
    ResultUpdate,
)


class ResultService:
    """Finished jobs and the pictures they left."""

    def __init__(
        self, database: Database, pictures: PictureFolder, thumbnails: ThumbnailFolder
    ) -> None:
        self._database = database
        self._pictures = pictures
        self._thumbnails = thumbnails

    def browse(self, asked: ResultListQuery) -> dict[str, Any]:
        """A part of the list, newest first; links are relative to the API's prefix."""
        query = ResultQuery(asked.favorite, asked.min_rating, tuple(search_words(asked.search)))
        with self._database.read() as session:
            results = Results(session)
            rows = results.page(query, asked.limit, asked.offset)
            return {
                "results": _records(results, rows),
                "total": results.count(query),
                "limit": asked.limit,
                "offset": asked.offset,
            }

    def get(self, job_id: str) -> dict[str, Any]:
        """One result; raises `ResultNotFound`."""
        with self._database.read() as session:
            return _record(session, job_id)

    def order(self, job_id: str) -> tuple[dict[str, Any], int]:
        """What was ordered, and the seed that its first picture was really made with.

        Raises:
            ResultNotFound: no such result.
        """
        with self._database.read() as session:
            results = Results(session)
            row = results.get(job_id)
            if row is None:
                raise _unknown(job_id)
            return dict(row.payload["params"]), results.images(job_id)[0].seed

    def change(self, job_id: str, request: ResultUpdate | None) -> dict[str, Any]:
        """Rate a result or make it a favourite.

        Raises:
            InvalidRequest: nothing to change, or null for `is_favorite`.
            ResultNotFound: no such result.
        """
        values = request.model_dump(exclude_unset=True) if request is not None else {}
        if not values:
            raise InvalidRequest("The change is empty; send `rating` or `is_favorite`.")
        if values.get("is_favorite", False) is None:
            raise InvalidRequest("`is_favorite` is true or false; it cannot be null.")
        with self._database.write() as session:
            ResultWriter(session).set([job_id], **values)
            return _record(session, job_id)

    def delete(self, job_id: str) -> list[str]:
        """Delete a result with its job, pictures and thumbnails; gives files that could not be.

        Raises:
            ResultNotFound: no such result.
        """
        with self._database.write() as session:
            results = ResultWriter(session)
            if not results.existing([job_id]):
                raise _unknown(job_id)
            paths = _paths(results, [job_id])
            results.delete([job_id])
        return self._remove_files([job_id], paths)

    def bulk(self, request: ResultBulkRequest) -> dict[str, Any]:
        """Do one thing to many results, all of them or none.

        Raises:
            InvalidRequest: `rate` without a rating.
            ResultNotFound: ids are unknown (named in `unknown_ids`) and not to be passed over.
        """
        if request.action == "rate" and "rating" not in request.model_fields_set:
            raise InvalidRequest("`rate` needs `rating`: 1 to 5, or null to take ratings back.")
        paths: list[Path] = []
        with self._database.write() as session:
            results = ResultWriter(session)
            ids = results.existing(request.ids)
            unknown = sorted(set(request.ids) - set(ids))
            if unknown and not request.skip_unknown:
                raise ResultNotFound(
                    f"{len(unknown)} of the ids are unknown; nothing was changed.",
                    unknown_ids=unknown[:100],
                )
            if request.action == "delete":
                paths = _paths(results, ids)
                results.delete(ids)
            elif request.action == "rate":
                results.set(ids, rating=request.rating)
            else:
                results.set(ids, is_favorite=request.action == "favorite")
        left = self._remove_files(ids, paths) if request.action == "delete" else []
        return {
            "success": True,
            "action": request.action,
            "processed": len(ids),
            "ids": ids,
            "files_left": left,
        }

    def image(self, job_id: str, number: int) -> Path:
        """The file of one picture.

        Raises:
            ResultNotFound: no such picture, or its file is gone.
            UnsafePath: it lies beyond the output folder.
        """
        with self._database.read() as session:
            images = Results(session).images(job_id)
        for image in images:
            if image.number == number:
                path = self._pictures.read(image.file_path)
                if path.is_file():
                    return path
                raise ResultNotFound("The picture's file is gone from the output folder.")
        raise ResultNotFound(f"There is no picture {number} of result {job_id}.")

    def thumbnail(self, job_id: str, number: int, size: int) -> Path:
        """The file of a small copy; raises as `image` and `ThumbnailFolder.get` do."""
        picture = self.image(job_id, number)
        return self._thumbnails.get(job_id, number, size, lambda: picture.open("rb"))

    def remove_leftovers(self) -> None:
        """Remove what dead processes left unfinished."""
        self._pictures.remove_leftovers()
        self._thumbnails.remove_leftovers()

    def _remove_files(self, job_ids: Sequence[str], paths: Sequence[Path]) -> list[str]:
        """After the commit: a file without a row is waste, a row without a file a broken page."""
        self._thumbnails.remove(job_ids)
        return [str(path) for path in self._pictures.remove(paths)]


def _paths(results: Results, job_ids: Sequence[str]) -> list[Path]:
    return [Path(image.file_path) for image in results.images_of(job_ids)]


def _record(session: ReadSession, job_id: str) -> dict[str, Any]:
    results = Results(session)
    row = results.get(job_id)
    if row is None:
        raise _unknown(job_id)
    return _records(results, [row])[0]


def _unknown(job_id: str) -> NotFound:
    return ResultNotFound(f"There is no result {job_id}.")


def _records(results: Results, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    images: dict[str, list[dict[str, Any]]] = {row.job_id: [] for row in rows}
    for image in results.images_of(list(images)):
        images[image.job_id].append(_image_record(image))
    return [_result_record(row, images[row.job_id]) for row in rows]


def _image_record(image: ResultImage) -> dict[str, Any]:
    address = image_url(image.job_id, image.number)
    return {
        "number": image.number,
        "image_url": address,
        "thumbnail_url": f"{address}/thumbnail",
        "width": image.width,
        "height": image.height,
        "seed": image.seed,
        "infotext": image.infotext,
    }


def _result_record(row: Row[Any], images: list[dict[str, Any]]) -> dict[str, Any]:
    params, first = row.payload["params"], images[0]
    return {
        "id": row.job_id,
        "job_id": row.job_id,
        "kind": row.kind,
        "prompt": params["prompt"],
        "negative_prompt": params["negative_prompt"],
        "status": "completed",
        "image_url": first["image_url"],
        "thumbnail_url": first["thumbnail_url"],
        "width": first["width"],
        "height": first["height"],
        "steps": params["steps"],
        "cfg_scale": params["cfg_scale"],
        "seed": first["seed"],
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "generation_info": row.result["generation_info"],
        "rating": row.rating,
        "is_favorite": row.is_favorite,
        "images": images,
    }
