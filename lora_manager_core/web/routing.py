"""The router of a feature whose every route asks who is calling."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from lora_manager_core.common.schema import Problem
from lora_manager_core.web.access import require_access

#: What every guarded route may answer besides its own.
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (401, 403, 413, 422, 500)
}


def guarded_router(tag: str, prefix: str = "") -> APIRouter:
    """A router behind `require_access`, for `api_v1` to take its routes as they are.

    `FastAPI.include_router` would do the same and build every route, with all its schemas, a second
    time: a third of a second at each start.
    """
    return APIRouter(
        prefix=prefix, tags=[tag], dependencies=[Depends(require_access)], responses=_REFUSALS
    )
