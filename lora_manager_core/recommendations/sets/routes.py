"""Sets of adapters: composing one for a prompt, and judging one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends

from lora_manager_core.common.schema import Problem
from lora_manager_core.recommendations.sets.compatibility import CompatibilityService
from lora_manager_core.recommendations.sets.schemas import (
    CompatibilityAnswer,
    CompatibilityRequest,
    ComposedSet,
    ComposeSetRequest,
    SetActivated,
)
from lora_manager_core.recommendations.sets.service import SetService
from lora_manager_core.web.caller import Caller
from lora_manager_core.web.deps import Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("recommendations")

Sets = Annotated[SetService, Depends(Provided(SetService))]
Compatibility = Annotated[CompatibilityService, Depends(Provided(CompatibilityService))]
_REFUSED: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 404: {"model": Problem}}


@router.post("/recommendations/compose", response_model=ComposedSet, responses=_REFUSED)
def compose_set(service: Sets, caller: Caller, request: ComposeSetRequest) -> ComposedSet:
    """A set of adapters for a prompt, with weights, reasons and risks."""
    return service.compose(request, caller)


@router.post(
    "/recommendations/compose/{session_id}/activate",
    response_model=SetActivated,
    responses=_REFUSED,
)
def activate_set(service: Sets, caller: Caller, session_id: str) -> SetActivated:
    """Make a set that was composed the active set, with its weights."""
    return service.activate(session_id, caller)


@router.post(
    "/recommendations/compatibility", response_model=CompatibilityAnswer, responses=_REFUSED
)
def check_compatibility(
    service: Compatibility, request: CompatibilityRequest
) -> CompatibilityAnswer:
    """Do these adapters fight? Figures by their weights, in numbers and words; never a verdict."""
    return service.check(request)
