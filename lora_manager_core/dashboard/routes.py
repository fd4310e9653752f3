"""Section 6 of the contract: `/dashboard` and `/metrics`."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query
from starlette.responses import Response

from lora_manager_core.adapters.routes import link_preview
from lora_manager_core.dashboard.metrics import MetricsService
from lora_manager_core.dashboard.schemas import (
    ActivityFeed,
    ActivityQuery,
    DashboardStats,
    FeaturedAdapters,
    Usage,
    UsageQuery,
)
from lora_manager_core.dashboard.service import DashboardService
from lora_manager_core.web.deps import JsonResponse, Provided, api_url
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("dashboard")

Service = Annotated[DashboardService, Depends(Provided(DashboardService))]
ApiUrl = Annotated[str, Depends(api_url)]
_ACTIVITY_QUERY = QueryParameters(ActivityQuery)
_USAGE_QUERY = QueryParameters(UsageQuery)


@router.get("/dashboard/stats", response_model=DashboardStats)
def get_stats(service: Service) -> Response:
    """The library and the installation at a glance."""
    return JsonResponse(service.stats().model_dump())


@router.get("/dashboard/featured-loras", response_model=FeaturedAdapters)
def get_featured(
    service: Service, url: ApiUrl, limit: Annotated[int, Query(ge=1, le=100)] = 12
) -> Response:
    """Adapters worth a place at the top, by the rule that comes with them."""
    featured = service.featured(limit)
    for record in featured["items"]:
        link_preview(record, url)
    return JsonResponse(featured)


@router.get(
    "/dashboard/activity-feed", response_model=ActivityFeed, openapi_extra=_ACTIVITY_QUERY.openapi()
)
def get_activity(
    service: Service, url: ApiUrl, asked: Annotated[ActivityQuery, Depends(_ACTIVITY_QUERY)]
) -> Response:
    """What happened lately: jobs that ended, adapters added and changed; newest first."""
    feed = service.activity(asked)
    for event in feed.events:
        if event.image_url:
            event.image_url = url + event.image_url
    return JsonResponse(feed.model_dump())


@router.get("/dashboard/usage", response_model=Usage, openapi_extra=_USAGE_QUERY.openapi())
def get_usage(service: Service, asked: Annotated[UsageQuery, Depends(_USAGE_QUERY)]) -> Response:
    """Generations that really ran, over time and by adapter, base model or checkpoint."""
    return JsonResponse(service.usage(asked).model_dump())


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics(
    service: Annotated[MetricsService, Depends(Provided(MetricsService))],
) -> Response:
    """All figures in Prometheus' text format; what cannot be read is left out."""
    text, media_type = service.exposition()
    return Response(text, media_type=media_type)
