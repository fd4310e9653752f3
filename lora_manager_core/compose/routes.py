"""Section 2 of the contract: `/compose`, and the switch of injection into the host."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.compose.injection import InjectionService
from lora_manager_core.compose.schemas import (
    ComposeRequest,
    Composition,
    InjectionRequest,
    InjectionState,
)
from lora_manager_core.compose.service import ComposeService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("compose")


@router.post(
    "/compose",
    response_model=Composition,
    responses={400: {"model": Problem}, 404: {"model": Problem}},
)
def compose(
    service: Annotated[ComposeService, Depends(Provided(ComposeService))], request: ComposeRequest
) -> Response:
    """The tokens of the active set, or of the adapters asked for, as one prompt."""
    return JsonResponse(service.compose(request).model_dump())


Injection = Annotated[InjectionService, Depends(Provided(InjectionService))]


@router.get("/injection", response_model=InjectionState)
def get_injection(service: Injection) -> InjectionState:
    """Whether the active set is injected into the host's generations."""
    return service.state()


@router.put("/injection", response_model=InjectionState)
def set_injection(service: Injection, request: InjectionRequest) -> InjectionState:
    """Turn injection on or off."""
    return service.switch(request.enabled)
