"""The part of section 5 of the contract on answers, and on how they are made."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.recommendations.answers.schemas import (
    ForPromptRequest,
    RecommendationAnswer,
    SimilarQuery,
    TriggerQuery,
)
from lora_manager_core.recommendations.answers.service import RecommendationService
from lora_manager_core.recommendations.answers.status import RecommendationStatus
from lora_manager_core.recommendations.answers.status_schemas import (
    IndexRebuilt,
    RecommendationHealth,
    RecommendationStats,
)
from lora_manager_core.web.caller import Caller
from lora_manager_core.web.deps import JsonResponse, Provided
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("recommendations", "/recommendations")

Service = Annotated[RecommendationService, Depends(Provided(RecommendationService))]
Status = Annotated[RecommendationStatus, Depends(Provided(RecommendationStatus))]
_SIMILAR = QueryParameters(SimilarQuery)
_TRIGGER = QueryParameters(TriggerQuery)
_MEANINGLESS: dict[int | str, dict[str, Any]] = {400: {"model": Problem}}


@router.post("/for-prompt", response_model=RecommendationAnswer, responses=_MEANINGLESS)
def recommend_for_prompt(service: Service, caller: Caller, request: ForPromptRequest) -> Response:
    """Adapters that fit a prompt, best first, with every summand of their scores."""
    return JsonResponse(service.for_prompt(request, caller).model_dump())


@router.get(
    "/similar/{lora_id}",
    response_model=RecommendationAnswer,
    responses={**_MEANINGLESS, 404: {"model": Problem}},
    openapi_extra=_SIMILAR.openapi(),
)
def recommend_similar(
    service: Service,
    caller: Caller,
    lora_id: str,
    asked: Annotated[SimilarQuery, Depends(_SIMILAR)],
) -> Response:
    """Adapters like one adapter: by texts, by tags, by the weights in the files."""
    return JsonResponse(service.similar(lora_id, asked, caller).model_dump())


@router.get(
    "/by-trigger",
    response_model=RecommendationAnswer,
    responses=_MEANINGLESS,
    openapi_extra=_TRIGGER.openapi(),
)
def recommend_by_trigger(
    service: Service, caller: Caller, asked: Annotated[TriggerQuery, Depends(_TRIGGER)]
) -> Response:
    """Adapters with a trigger: the very words first, then parts and spellings of them."""
    return JsonResponse(service.by_trigger(asked, caller).model_dump())


@router.post("/index/rebuild", response_model=IndexRebuilt)
def rebuild_index(status: Status, force: bool = False) -> IndexRebuilt:
    """Read the index anew. Nobody has to: it follows every change by itself."""
    return status.rebuild(force)


@router.get("/stats", response_model=RecommendationStats)
def recommendation_stats(status: Status) -> RecommendationStats:
    """Coverage, speed and feedback, as measured."""
    return status.stats()


@router.get("/health", response_model=RecommendationHealth)
def recommendation_health(status: Status) -> RecommendationHealth:
    """Whether answers are as good as they can be, and why not."""
    return status.health()
