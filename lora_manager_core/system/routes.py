"""`/health`, open to all callers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from lora_manager_core.system.service import Health, SystemService
from lora_manager_core.web.deps import JsonResponse, Provided

router = APIRouter(tags=["system"])


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
def get_health(service: Annotated[SystemService, Depends(Provided(SystemService))]) -> Response:
    """Ready, or why not."""
    health = service.health()
    return JsonResponse(health.model_dump(), 200 if health.ready else 503)
