"""Section 4 of the contract: `/generation/results`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends, Path, Query
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.common.thumbnails import MEDIA_TYPE
from lora_manager_core.generation.result_schemas import (
    DeletedFiles,
    ResultAnswer,
    ResultBulkAnswer,
    ResultBulkRequest,
    ResultListQuery,
    ResultPage,
    ResultUpdate,
    ReuseAnswer,
    ReuseRequest,
)
from lora_manager_core.generation.results import ResultService
from lora_manager_core.generation.reuse import ReuseService
from lora_manager_core.web.deps import JsonResponse, Provided, api_url
from lora_manager_core.web.files import IMMUTABLE, FileAnswer
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("results", "/generation/results")

Service = Annotated[ResultService, Depends(Provided(ResultService))]
ApiUrl = Annotated[str, Depends(api_url)]
#: Pictures of one job, more than any may have.
Number = Annotated[int, Path(ge=0, le=100_000)]
_LIST_QUERY = QueryParameters(ResultListQuery)
_ERRORS: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (400, 404)}
_FILE: dict[int | str, dict[str, Any]] = {
    **_ERRORS,
    206: {"description": "The range asked for."},
    304: {"description": "Not changed."},
    416: {"model": Problem},
}


@router.get("", response_model=ResultPage, openapi_extra=_LIST_QUERY.openapi())
def list_results(
    service: Service, url: ApiUrl, asked: Annotated[ResultListQuery, Depends(_LIST_QUERY)]
) -> Response:
    """Finished jobs with their pictures, newest first."""
    page = service.browse(asked)
    for record in page["results"]:
        _link(record, url)
    return JsonResponse(page)


@router.post("/bulk", response_model=ResultBulkAnswer, responses=_ERRORS)
def change_many(service: Service, request: ResultBulkRequest) -> Response:
    """One action on many results, all or nothing."""
    return JsonResponse(service.bulk(request))


@router.get("/{result_id}", response_model=ResultAnswer, responses=_ERRORS)
def get_result(service: Service, url: ApiUrl, result_id: str) -> Response:
    """One result."""
    return JsonResponse({"result": _link(service.get(result_id), url)})


@router.patch("/{result_id}", response_model=ResultAnswer, responses=_ERRORS)
def update_result(
    service: Service,
    url: ApiUrl,
    result_id: str,
    request: Annotated[ResultUpdate | None, Body()] = None,
) -> Response:
    """Rate a result, or make it a favourite."""
    return JsonResponse({"result": _link(service.change(result_id, request), url)})


@router.delete(
    "/{result_id}",
    status_code=204,
    responses={
        **_ERRORS,
        200: {"model": DeletedFiles, "description": "Deleted, but for files that could not be."},
    },
)
def delete_result(service: Service, result_id: str) -> Response:
    """Delete a result, its pictures and its job; what it counted for in the usage stays."""
    left = service.delete(result_id)
    return JsonResponse({"files_left": left}) if left else Response(status_code=204)


@router.post("/{result_id}/reuse", response_model=ReuseAnswer, responses=_ERRORS)
def reuse(
    service: Annotated[ReuseService, Depends(Provided(ReuseService))],
    result_id: str,
    request: Annotated[ReuseRequest | None, Body()] = None,
) -> ReuseAnswer:
    """The parameters and LoRAs of a result; if asked, its LoRAs become the active set."""
    return service.reuse(result_id, apply=request is not None and request.apply)


@router.get("/{result_id}/images/{number}", responses=_FILE)
def get_image(service: Service, result_id: str, number: Number) -> FileAnswer:
    """One finished picture as PNG, with its infotext inside."""
    return FileAnswer(service.image(result_id, number), "image/png", IMMUTABLE)


@router.get("/{result_id}/images/{number}/thumbnail", responses=_FILE)
def get_thumbnail(
    service: Service,
    result_id: str,
    number: Number,
    size: Annotated[
        int, Query(ge=64, le=1024, multiple_of=64, description="The longer side, in pixels.")
    ] = 256,
) -> FileAnswer:
    """A small copy of a picture as WebP."""
    return FileAnswer(service.thumbnail(result_id, number, size), MEDIA_TYPE, IMMUTABLE)


def _link(record: dict[str, Any], url: str) -> dict[str, Any]:
    """The record with its links under the prefix that was asked."""
    for linked in (record, *record["images"]):
        linked["image_url"] = url + linked["image_url"]
        linked["thumbnail_url"] = url + linked["thumbnail_url"]
    return record
