"""Section 1 of the contract: `/adapters`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends, Query
from starlette.responses import Response

from lora_manager_core.adapters.bulk import BulkService
from lora_manager_core.adapters.lists import AdapterLists
from lora_manager_core.adapters.query import AdapterQuery
from lora_manager_core.adapters.schemas import (
    ActivateRequest,
    AdapterAnswer,
    AdapterCreate,
    AdapterPage,
    AdapterUpdate,
    BulkAnswer,
    BulkRequest,
    FacetQuery,
    FacetsAnswer,
    ListQuery,
    TagsAnswer,
)
from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.common.schema import Problem
from lora_manager_core.web.deps import JsonResponse, Provided, api_url
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("adapters", "/adapters")

Service = Annotated[AdapterService, Depends(Provided(AdapterService))]
Bulk = Annotated[BulkService, Depends(Provided(BulkService))]
ApiUrl = Annotated[str, Depends(api_url)]
Lists = Annotated[AdapterLists, Depends(Provided(AdapterLists))]
_LIST_QUERY = QueryParameters(ListQuery)
_FACET_QUERY = QueryParameters(FacetQuery)
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
_WRITE_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem},
    404: {"model": Problem},
    409: {"model": Problem},
}


@router.get("", response_model=AdapterPage, openapi_extra=_LIST_QUERY.openapi())
def list_adapters(
    lists: Lists, url: ApiUrl, asked: Annotated[ListQuery, Depends(_LIST_QUERY)]
) -> Response:
    """One page of adapters."""
    listed = lists.browse(AdapterQuery.from_request(asked))
    for record in listed["items"]:
        link_preview(record, url)
    return JsonResponse(listed)


@router.post("", status_code=201, response_model=AdapterAnswer, responses=_WRITE_ERRORS)
def create_adapter(service: Service, url: ApiUrl, request: AdapterCreate) -> Response:
    """Add an adapter for a file in the library."""
    return _answer(service.create(request), url, 201)


@router.get("/tags", response_model=TagsAnswer)
def list_tags(lists: Lists) -> Response:
    """All tags in use."""
    return JsonResponse({"tags": lists.tags()})


@router.get("/facets", response_model=FacetsAnswer, openapi_extra=_FACET_QUERY.openapi())
def list_facets(lists: Lists, asked: Annotated[FacetQuery, Depends(_FACET_QUERY)]) -> Response:
    """For each filter its values with how many adapters each would leave."""
    return JsonResponse(lists.facets(AdapterQuery.from_request(asked), asked.top))


@router.post("/bulk", response_model=BulkAnswer, responses=_WRITE_ERRORS)
def change_many(service: Bulk, request: BulkRequest) -> Response:
    """One action on many adapters, all or nothing; `undo_id` takes it back."""
    return JsonResponse(service.apply(request))


@router.get("/{adapter_id}", response_model=AdapterAnswer, responses=_NOT_FOUND)
def get_adapter(service: Service, url: ApiUrl, adapter_id: str) -> Response:
    """One adapter."""
    return _answer(service.get(adapter_id), url)


@router.patch("/{adapter_id}", response_model=AdapterAnswer, responses=_WRITE_ERRORS)
def update_adapter(
    service: Service,
    url: ApiUrl,
    adapter_id: str,
    request: Annotated[AdapterUpdate | None, Body()] = None,
) -> Response:
    """Change fields of one adapter."""
    return _answer(service.update(adapter_id, request), url)


@router.delete("/{adapter_id}", status_code=204, responses=_WRITE_ERRORS)
def delete_adapter(service: Bulk, adapter_id: str, files: bool = False) -> Response:
    """Take an adapter out of the catalogue; the model file stays.

    With `files` it goes to the bin (`/library/bin`), with side files and previews. The header
    `X-Undo-Id` has the id that takes it back, see `/adapters/undo`.
    """
    return Response(status_code=204, headers={"X-Undo-Id": service.delete(adapter_id, files)})


def _place(
    ordinal: Annotated[int | None, Query(ge=-(10**9), le=10**9)] = None,
    request: Annotated[ActivateRequest | None, Body()] = None,
) -> int | None:
    """The place in the active set, from the body or the query."""
    return request.ordinal if request and request.ordinal is not None else ordinal


Place = Annotated[int | None, Depends(_place)]


@router.post("/{adapter_id}/activate", response_model=AdapterAnswer, responses=_NOT_FOUND)
def activate_adapter(service: Service, url: ApiUrl, adapter_id: str, place: Place) -> Response:
    """Put an adapter into the active set."""
    return _answer(service.activate(adapter_id, True, place), url)


@router.post("/{adapter_id}/deactivate", response_model=AdapterAnswer, responses=_NOT_FOUND)
def deactivate_adapter(service: Service, url: ApiUrl, adapter_id: str, place: Place) -> Response:
    """Take an adapter out of the active set."""
    return _answer(service.activate(adapter_id, False, place), url)


def _answer(record: dict[str, Any], url: str, status: int = 200) -> Response:
    return JsonResponse({"adapter": link_preview(record, url)}, status)


def link_preview(record: dict[str, Any], url: str) -> dict[str, Any]:
    """The record with the address of its preview under the prefix that was asked."""
    if record["preview_url"]:
        record["preview_url"] = url + record["preview_url"]
    return record
