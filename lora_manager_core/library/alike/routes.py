"""What is alike in the library: duplicates, files of one name, versions of one model."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.library.alike.conflicts import NameConflicts
from lora_manager_core.library.alike.duplicates import DuplicatesService
from lora_manager_core.library.alike.schemas import (
    ConflictsAnswer,
    DuplicatesAnswer,
    DuplicatesQuery,
    PageQuery,
    VersionsAnswer,
    VersionsQuery,
)
from lora_manager_core.library.alike.versions import ModelVersionsService
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("library")

Duplicates = Annotated[DuplicatesService, Depends(Provided(DuplicatesService))]
Conflicts = Annotated[NameConflicts, Depends(Provided(NameConflicts))]
Versions = Annotated[ModelVersionsService, Depends(Provided(ModelVersionsService))]
_DUPLICATES = QueryParameters(DuplicatesQuery)
_PAGE = QueryParameters(PageQuery)
_VERSIONS = QueryParameters(VersionsQuery)


@router.get(
    "/library/duplicates",
    response_model=DuplicatesAnswer,
    responses={400: {"model": Problem}},
    openapi_extra=_DUPLICATES.openapi(),
)
def list_duplicates(
    service: Duplicates, asked: Annotated[DuplicatesQuery, Depends(_DUPLICATES)]
) -> Response:
    """Equal files, or (by weights) adapters that are nearly the same, and lineages."""
    return JsonResponse(service.browse(asked))


@router.get("/library/conflicts", response_model=ConflictsAnswer, openapi_extra=_PAGE.openapi())
def list_conflicts(service: Conflicts, asked: Annotated[PageQuery, Depends(_PAGE)]) -> Response:
    """Files that share one name in prompts, each with a token of its own, or how to get one."""
    return JsonResponse(service.browse(asked))


@router.get("/library/versions", response_model=VersionsAnswer, openapi_extra=_VERSIONS.openapi())
def list_versions(
    service: Versions, asked: Annotated[VersionsQuery, Depends(_VERSIONS)]
) -> Response:
    """Models with several versions in the library, with the evidence for each."""
    return JsonResponse(service.browse(asked))
