"""`/library/side-files`: records into the files of other programs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.library.side_writing.schemas import SideFilesRequest, SideFilesStarted
from lora_manager_core.library.side_writing.service import SideFileService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("library")

Service = Annotated[SideFileService, Depends(Provided(SideFileService))]
_ERRORS: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (400, 404)}


@router.post(
    "/library/side-files", status_code=202, response_model=SideFilesStarted, responses=_ERRORS
)
def write_side_files(service: Service, request: SideFilesRequest) -> Response:
    """Write what is known of adapters beside their models, for other programs to read."""
    job = service.start(request)
    return JsonResponse({"job_id": job.id, "status": job.status}, 202)
