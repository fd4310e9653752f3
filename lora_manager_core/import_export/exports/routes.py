"""Section 7 of the contract, exports: `/import-export/export` and `/import-export/exports`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.import_export.exports.folder import StoredExport
from lora_manager_core.import_export.exports.service import ExportService
from lora_manager_core.import_export.paths import PREFIX, both
from lora_manager_core.import_export.schemas import (
    ExportEstimate,
    ExportFile,
    ExportRequest,
    JobStarted,
)
from lora_manager_core.web.deps import JsonResponse, Provided, api_url
from lora_manager_core.web.files import FileAnswer
from lora_manager_core.web.routing import guarded_router
from lora_manager_core.web.streams import StreamAnswer

router = guarded_router("archives", PREFIX)

Service = Annotated[ExportService, Depends(Provided(ExportService))]
ApiUrl = Annotated[str, Depends(api_url)]
_ZIP = "application/zip"
_KEPT = "private, no-cache"
_ASKED: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (400, 404)}


@router.post("/export/estimate", response_model=ExportEstimate, responses=_ASKED)
def estimate_export(service: Service, request: ExportRequest) -> ExportEstimate:
    """How large an export will be, and how long it will take if that was measured here."""
    return service.estimate(request)


@router.post(
    "/export",
    status_code=200,
    response_class=StreamAnswer,
    responses={
        **_ASKED,
        200: {
            "content": {_ZIP: {}},
            "description": "The archive, made while it is sent; its id is in `X-Export-Id`.",
        },
        202: {"model": JobStarted, "description": "With `background`: see `/exports` later."},
        424: {"model": Problem},
        503: {"model": Problem},
        507: {"model": Problem},
    },
)
def export(service: Service, request: ExportRequest) -> Response:
    """A ZIP of what was chosen; a connection that breaks off means that it failed."""
    if request.background:
        job = service.start(request)
        return JsonResponse({"job_id": job.id, "status": job.status}, 202)
    stream = service.stream(request)
    return StreamAnswer(stream, _ZIP, stream.file_name, {"X-Export-Id": stream.id})


@router.get("/exports", response_model=list[ExportFile])
def list_exports(service: Service, url: ApiUrl) -> list[ExportFile]:
    """Exports that were made with `background`, newest first."""
    return [_shown(export, url) for export in service.list()]


@router.get(
    "/exports/{export_id}/file",
    status_code=200,
    response_class=FileAnswer,
    responses={
        404: {"model": Problem},
        200: {"content": {_ZIP: {}}},
        206: {"description": "The range asked for."},
        304: {"description": "Not changed."},
        416: {"model": Problem},
    },
)
def get_export(service: Service, export_id: str) -> FileAnswer:
    """One of them, whole or from where a download broke off."""
    found = service.get(export_id)
    return FileAnswer(found.path, _ZIP, _KEPT, found.file_name)


@router.delete("/exports/{export_id}", status_code=204, responses={404: {"model": Problem}})
def delete_export(service: Service, export_id: str) -> None:
    """Delete one of them."""
    service.delete(export_id)


def _shown(export: StoredExport, url: str) -> ExportFile:
    return ExportFile(
        id=export.id,
        created_at=export.created_at,
        size=export.size,
        file_name=export.file_name,
        encrypted=export.encrypted,
        url=f"{url}{PREFIX}/exports/{export.id}/file",
    )


both(router)
