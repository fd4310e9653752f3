"""Changes that can be taken back: `/adapters/undo`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query
from starlette.responses import Response

from lora_manager_core.adapters.undo.schemas import UndoAnswer, UndoList
from lora_manager_core.adapters.undo.service import UndoService
from lora_manager_core.common.schema import Problem
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("adapters", "/adapters/undo")

Service = Annotated[UndoService, Depends(Provided(UndoService))]
_ERRORS: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, 409: {"model": Problem}}


@router.get("", response_model=UndoList)
def list_undo(service: Service, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Response:
    """The latest bulk edits, deletions and moves, and whether they can be taken back."""
    return JsonResponse({"items": service.latest(limit)})


@router.post("/{undo_id}", response_model=UndoAnswer, responses=_ERRORS)
def undo_change(service: Service, undo_id: str, force: bool = False) -> Response:
    """Take a change back, all of it or nothing.

    Records that somebody has changed since are named in `conflicts` (409); `force` takes the change
    back all the same.
    """
    return JsonResponse(service.undo(undo_id, force))
