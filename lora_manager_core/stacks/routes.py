"""`/stacks`: named sets of adapters with weights."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.stacks.schemas import (
    ApplyRequest,
    SharedStack,
    StackAnswer,
    StackApplied,
    StackCreate,
    StackImport,
    StackPage,
    StacksQuery,
    StackUpdate,
)
from lora_manager_core.stacks.service import StackService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("stacks", "/stacks")

Service = Annotated[StackService, Depends(Provided(StackService))]
_QUERY = QueryParameters(StacksQuery)
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem},
    404: {"model": Problem},
    409: {"model": Problem},
}


@router.get("", response_model=StackPage, openapi_extra=_QUERY.openapi())
def list_stacks(service: Service, asked: Annotated[StacksQuery, Depends(_QUERY)]) -> Response:
    """Stacks by name, with their entries."""
    return JsonResponse(service.browse(asked))


@router.post("", status_code=201, response_model=StackAnswer, responses=_ERRORS)
def create_stack(service: Service, request: StackCreate) -> Response:
    """Make a stack; without `entries`, of the active set."""
    return JsonResponse({"stack": service.create(request)}, 201)


@router.post(
    "/import", status_code=201, response_model=StackAnswer, responses={409: {"model": Problem}}
)
def import_stack(service: Service, request: StackImport) -> Response:
    """Add a stack that somebody shared; entries whose file is not here are kept and say why."""
    return JsonResponse({"stack": service.take_in(request)}, 201)


@router.get("/{stack_id}", response_model=StackAnswer, responses=_NOT_FOUND)
def get_stack(service: Service, stack_id: str) -> Response:
    """One stack."""
    return JsonResponse({"stack": service.get(stack_id)})


@router.patch("/{stack_id}", response_model=StackAnswer, responses=_ERRORS)
def update_stack(service: Service, stack_id: str, request: StackUpdate) -> Response:
    """Change name, description, or entries and their order."""
    return JsonResponse({"stack": service.update(stack_id, request)})


@router.delete("/{stack_id}", status_code=204, responses=_NOT_FOUND)
def delete_stack(service: Service, stack_id: str) -> None:
    """Delete a stack; its adapters stay."""
    service.delete(stack_id)


@router.post("/{stack_id}/apply", response_model=StackApplied, responses=_ERRORS)
def apply_stack(
    service: Service, stack_id: str, request: Annotated[ApplyRequest | None, Body()] = None
) -> Response:
    """Make it the active set, or add it to that; what is not here is left out and reported."""
    add = request is not None and request.mode == "add"
    return JsonResponse(service.apply(stack_id, add))


@router.get("/{stack_id}/export", response_model=SharedStack, responses=_NOT_FOUND)
def export_stack(service: Service, stack_id: str) -> Response:
    """The stack as one JSON document for others; `POST /stacks/import` takes it in."""
    return JsonResponse(service.share(stack_id))
