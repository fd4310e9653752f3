"""`/collections`: named sets of adapters, by hand or by a saved search."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.collections.schemas import (
    CollectionAnswer,
    CollectionCreate,
    CollectionPage,
    CollectionsQuery,
    CollectionUpdate,
    MembersAnswer,
    MembersRequest,
    OrderRequest,
)
from lora_manager_core.collections.service import CollectionService
from lora_manager_core.common.schema import Problem
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("collections", "/collections")

Service = Annotated[CollectionService, Depends(Provided(CollectionService))]
_QUERY = QueryParameters(CollectionsQuery)
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem},
    404: {"model": Problem},
    409: {"model": Problem},
}


@router.get("", response_model=CollectionPage, openapi_extra=_QUERY.openapi())
def list_collections(
    service: Service, asked: Annotated[CollectionsQuery, Depends(_QUERY)]
) -> Response:
    """Collections in their order, with how many adapters each has just now.

    The adapters of one are `GET /adapters?collection=ID`.
    """
    return JsonResponse(service.browse(asked))


@router.post("", status_code=201, response_model=CollectionAnswer, responses=_ERRORS)
def create_collection(service: Service, request: CollectionCreate) -> Response:
    """Make a collection."""
    return JsonResponse({"collection": service.create(request)}, 201)


@router.put("/order", status_code=204, responses=_NOT_FOUND)
def order_collections(service: Service, request: OrderRequest) -> None:
    """The order in which collections are listed."""
    service.order(request.collection_ids)


@router.get("/{collection_id}", response_model=CollectionAnswer, responses=_NOT_FOUND)
def get_collection(service: Service, collection_id: str) -> Response:
    """One collection."""
    return JsonResponse({"collection": service.get(collection_id)})


@router.patch("/{collection_id}", response_model=CollectionAnswer, responses=_ERRORS)
def update_collection(service: Service, collection_id: str, request: CollectionUpdate) -> Response:
    """Change name, description or search."""
    return JsonResponse({"collection": service.update(collection_id, request)})


@router.delete("/{collection_id}", status_code=204, responses=_NOT_FOUND)
def delete_collection(service: Service, collection_id: str) -> None:
    """Delete a collection; its adapters stay."""
    service.delete(collection_id)


@router.post("/{collection_id}/adapters", response_model=MembersAnswer, responses=_ERRORS)
def change_members(service: Service, collection_id: str, request: MembersRequest) -> Response:
    """Put adapters into a collection, take them out, or put them first; all or nothing."""
    return JsonResponse(service.change_members(collection_id, request))
