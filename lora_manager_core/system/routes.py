"""`/health`, open to all callers, and `/system/status`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from lora_manager_core.system.schemas import Health, SystemStatus
from lora_manager_core.system.service import SystemService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = APIRouter(tags=["system"])
status_router = guarded_router("system", "/system")

Service = Annotated[SystemService, Depends(Provided(SystemService))]


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
def get_health(service: Service) -> Response:
    """Ready, or why not."""
    health = service.health()
    return JsonResponse(health.model_dump(), 200 if health.ready else 503)


@status_router.get("/status", response_model=SystemStatus)
def get_status(service: Service) -> Response:
    """GPU, memory, disks, queue, backend and scan as they are now."""
    return JsonResponse(service.status().model_dump())
