"""`/library/look-up` and `/adapters/{id}/look-up`: what a provider knows of files by their hash."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.library.lookups.schemas import LookUpAnswer, LookUpRequest, LookUpStarted
from lora_manager_core.library.lookups.service import LookUpService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("library")

Service = Annotated[LookUpService, Depends(Provided(LookUpService))]
_START: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (400, 404, 409)}


@router.post("/library/look-up", status_code=202, response_model=LookUpStarted, responses=_START)
def start_look_up(
    service: Service, request: Annotated[LookUpRequest | None, Body()] = None
) -> Response:
    """Ask Civitai for files by their hash, and fill what records lack; off unless configured."""
    job = service.start(request or LookUpRequest())
    return JsonResponse({"job_id": job.id, "status": job.status}, 202)


@router.get(
    "/adapters/{adapter_id}/look-up",
    response_model=LookUpAnswer,
    responses={404: {"model": Problem}},
)
def get_look_up(service: Service, adapter_id: str) -> Response:
    """What was answered for an adapter's file, as it came."""
    return JsonResponse(service.of(adapter_id))
