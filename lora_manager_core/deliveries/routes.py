"""Section 3 of the contract: `/deliveries`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Header
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.deliveries.schemas import (
    DeliveryAnswer,
    DeliveryCreate,
    DeliveryCreated,
    DeliveryPage,
    DeliveryRecord,
    ListQuery,
)
from lora_manager_core.deliveries.service import DeliveryService
from lora_manager_core.web.deps import JsonResponse, Provided, api_url
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("deliveries", "/deliveries")

Service = Annotated[DeliveryService, Depends(Provided(DeliveryService))]
ApiUrl = Annotated[str, Depends(api_url)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]*$",
        description="The same request under the same key makes one delivery, however often it "
        "is sent; another request under it is refused (422 `idempotency_key_reused`).",
    ),
]
_LIST_QUERY = QueryParameters(ListQuery)
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
_CHANGE_ERRORS: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, 409: {"model": Problem}}


@router.post(
    "", status_code=201, response_model=DeliveryCreated, responses={400: {"model": Problem}}
)
def create_delivery(
    service: Service, request: DeliveryCreate, key: IdempotencyKey = None
) -> Response:
    """Send a prompt on its way; follow it here or on the feed."""
    return JsonResponse({"delivery_id": service.create(request, key)}, 201)


@router.get("", response_model=DeliveryPage, openapi_extra=_LIST_QUERY.openapi())
def list_deliveries(
    service: Service, url: ApiUrl, asked: Annotated[ListQuery, Depends(_LIST_QUERY)]
) -> Response:
    """One page of deliveries, newest first."""
    return JsonResponse(service.browse(asked, url).model_dump())


@router.get("/{delivery_id}", response_model=DeliveryAnswer, responses=_NOT_FOUND)
def get_delivery(service: Service, url: ApiUrl, delivery_id: str) -> Response:
    """One delivery with its attempts; its pictures come in the form that was asked for."""
    return _answer(service.get(delivery_id, url))


@router.post("/{delivery_id}/cancel", response_model=DeliveryAnswer, responses=_CHANGE_ERRORS)
def cancel_delivery(service: Service, url: ApiUrl, delivery_id: str) -> Response:
    """Stop a delivery: a waiting one never starts, a running one stops at its next step."""
    return _answer(service.cancel(delivery_id, url))


@router.post(
    "/{delivery_id}/retry",
    status_code=201,
    response_model=DeliveryCreated,
    responses=_CHANGE_ERRORS,
)
def retry_delivery(service: Service, delivery_id: str) -> Response:
    """Send a failed or cancelled delivery again, as a new one."""
    return JsonResponse({"delivery_id": service.retry(delivery_id)}, 201)


def _answer(record: DeliveryRecord) -> Response:
    return JsonResponse({"delivery": record.model_dump()})
