"""Files of the library that people move: rename, move, organise, and the bin."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.adapters.routes import ApiUrl, link_preview
from lora_manager_core.common.schema import Problem
from lora_manager_core.library.files.bin import FileBin
from lora_manager_core.library.files.organizing import OrganizeService
from lora_manager_core.library.files.schemas import (
    BinContents,
    BinEmptied,
    FileMoveAnswer,
    FileMoveRequest,
    OrganizeAnswer,
    OrganizeRequest,
)
from lora_manager_core.library.files.service import FileService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("library")

Bin = Annotated[FileBin, Depends(Provided(FileBin))]
Files = Annotated[FileService, Depends(Provided(FileService))]
Organizer = Annotated[OrganizeService, Depends(Provided(OrganizeService))]
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 404, 409, 507)
}


@router.get("/library/bin", response_model=BinContents)
def get_bin(service: Bin) -> Response:
    """Files of deleted records, by deletion, with their sizes; undoing it brings them back."""
    return JsonResponse(service.contents())


@router.delete("/library/bin", response_model=BinEmptied)
def empty_bin(service: Bin) -> Response:
    """Delete all files in the bin for good; those deletions can no longer be undone."""
    return JsonResponse(service.empty())


@router.post("/adapters/{adapter_id}/file", response_model=FileMoveAnswer, responses=_ERRORS)
def move_file(service: Files, url: ApiUrl, adapter_id: str, request: FileMoveRequest) -> Response:
    """Rename or move a model file with its side files and previews; the record is kept."""
    answer = service.move(adapter_id, request.name, request.folder)
    link_preview(answer["adapter"], url)
    return JsonResponse(answer)


@router.post(
    "/library/organize",
    response_model=OrganizeAnswer,
    responses={**_ERRORS, 202: {"model": OrganizeAnswer, "description": "It goes on as a job."}},
)
def organize_library(service: Organizer, request: OrganizeRequest) -> Response:
    """Bring files to where a template says that they belong: first the plan, then as a job.

    `GET /adapters/undo` lists it under the id of the job, also one that was cancelled on its way.
    """
    if request.dry_run:
        return JsonResponse({"plan": service.plan(request.template, request, request.limit)})
    job = service.start(request.template, request)
    return JsonResponse({"job_id": job.id, "status": job.status}, 202)
