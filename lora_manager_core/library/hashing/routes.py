"""Hashes of model files: having them made, all or one."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.library.hashing.schemas import HashedAdapter, HashingStarted
from lora_manager_core.library.hashing.service import HashingService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("library")

Service = Annotated[HashingService, Depends(Provided(HashingService))]


@router.post("/library/hash", status_code=202, response_model=HashingStarted)
def hash_library(service: Service) -> Response:
    """Hash all files that are not hashed yet, or could not be; progress comes over the feed."""
    job = service.start()
    return JsonResponse({"job_id": job.id, "status": job.status}, 202)


@router.post(
    "/adapters/{adapter_id}/hash",
    response_model=HashedAdapter,
    responses={
        400: {"model": Problem},
        404: {"model": Problem},
        409: {"model": Problem},
        503: {"model": Problem},
    },
)
def hash_adapter(service: Service, adapter_id: str) -> Response:
    """Hash the file of one adapter now; the answer comes when that is done."""
    return JsonResponse({"adapter": service.hash_now(adapter_id)})
