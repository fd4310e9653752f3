"""The library part of section 1 of the contract: overview, scan, excluded files, headers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.common.schema import Problem
from lora_manager_core.library.schemas import (
    ExcludedFiles,
    HeaderAnswer,
    LibraryOverview,
    RestoreRequest,
    ScanStarted,
)
from lora_manager_core.library.service import LibraryService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("library")

Service = Annotated[LibraryService, Depends(Provided(LibraryService))]
CatalogueService = Annotated[AdapterService, Depends(Provided(AdapterService))]


@router.get("/library", response_model=LibraryOverview)
def get_library(service: Service) -> Response:
    """Library folders, counts and the state of scanning."""
    return JsonResponse(service.overview())


@router.post(
    "/library/scan",
    status_code=202,
    response_model=ScanStarted,
    responses={400: {"model": Problem}},
)
def scan_library(service: Service) -> Response:
    """Bring the catalogue up to date with the folders; progress comes over the feed."""
    job = service.start_scan()
    return JsonResponse({"job_id": job.id, "status": job.status}, 202)


@router.get("/library/excluded", response_model=ExcludedFiles)
def list_excluded(service: CatalogueService) -> Response:
    """Files whose records were deleted, and which scans pass over."""
    return JsonResponse({"excluded": service.excluded()})


@router.post("/library/excluded/restore", status_code=204, responses={404: {"model": Problem}})
def restore_excluded(service: CatalogueService, request: RestoreRequest) -> None:
    """Let the next scan list a file again."""
    service.restore_excluded(request.file_path)


@router.get(
    "/adapters/{adapter_id}/metadata",
    response_model=HeaderAnswer,
    responses={400: {"model": Problem}, 404: {"model": Problem}},
)
def get_header(service: Service, adapter_id: str) -> Response:
    """The header of an adapter's file as it is stored in it."""
    return JsonResponse(service.header(adapter_id))
