"""The part of section 5 of the contract on feedback and preferences."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.recommendations.taste.feedback import FeedbackService
from lora_manager_core.recommendations.taste.preferences import PreferenceService
from lora_manager_core.recommendations.taste.schemas import (
    FeedbackPage,
    FeedbackQuery,
    FeedbackRecord,
    FeedbackRequest,
    FeedbackReset,
    PreferenceRecord,
    PreferenceRequest,
    PreferencesAnswer,
)
from lora_manager_core.web.caller import Caller
from lora_manager_core.web.deps import Provided
from lora_manager_core.web.query import QueryParameters
from lora_manager_core.web.routing import guarded_router

router = guarded_router("recommendations", "/recommendations")

Feedback = Annotated[FeedbackService, Depends(Provided(FeedbackService))]
Preferences = Annotated[PreferenceService, Depends(Provided(PreferenceService))]
_QUERY = QueryParameters(FeedbackQuery)
_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}


@router.post("/feedback", response_model=FeedbackRecord, responses=_NOT_FOUND)
def give_feedback(service: Feedback, caller: Caller, request: FeedbackRequest) -> FeedbackRecord:
    """Say, or tell, what somebody thinks of an adapter of an answer."""
    return service.give(request, caller)


@router.get("/feedback", response_model=FeedbackPage, openapi_extra=_QUERY.openapi())
def list_feedback(
    service: Feedback, caller: Caller, asked: Annotated[FeedbackQuery, Depends(_QUERY)]
) -> FeedbackPage:
    """The log of feedback, newest first."""
    return service.browse(asked, caller)


@router.delete("/feedback", response_model=FeedbackReset)
def reset_taste(service: Feedback, caller: Caller, preferences: bool = False) -> FeedbackReset:
    """Let taste begin anew: pictures made before are not counted either.

    With `preferences=true` what was said to be preferred goes, too.
    """
    return service.reset(caller, preferences)


@router.delete("/feedback/{feedback_id}", status_code=204, responses=_NOT_FOUND)
def delete_feedback(service: Feedback, caller: Caller, feedback_id: str) -> Response:
    """Take one entry out of the log."""
    service.take_back(feedback_id, caller)
    return Response(status_code=204)


@router.post("/preferences", response_model=PreferenceRecord)
def state_preference(
    service: Preferences, caller: Caller, request: PreferenceRequest
) -> PreferenceRecord:
    """Say what you prefer; the same value again takes the new confidence."""
    return service.state(request, caller)


@router.get("/preferences", response_model=PreferencesAnswer)
def list_preferences(service: Preferences, caller: Caller) -> PreferencesAnswer:
    """What was said, and what was learned of what was done, with its evidence."""
    return service.list(caller)


@router.delete("/preferences/{preference_id}", status_code=204, responses=_NOT_FOUND)
def delete_preference(service: Preferences, caller: Caller, preference_id: str) -> Response:
    """Take back what was said to be preferred."""
    service.take_back(preference_id, caller)
    return Response(status_code=204)
