"""What people do with feedback: give it, look at it, take it back, begin anew."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import FeedbackEvent
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import AdapterNotFound, NotFound, SessionNotFound
from lora_manager_core.recommendations.taste.repository import FeedbackLog, FeedbackWriter
from lora_manager_core.recommendations.taste.schemas import (
    FeedbackPage,
    FeedbackQuery,
    FeedbackRecord,
    FeedbackRequest,
    FeedbackReset,
)
from lora_manager_core.recommendations.taste.sessions import SessionLog
from lora_manager_core.recommendations.taste.signals import RESET

#: A reset is about none.
_NO_ADAPTER = str(uuid.UUID(int=0))


class FeedbackService:
    """The log of feedback, per person; `user` is empty where there are no users."""

    def __init__(self, database: Database, sessions: SessionLog) -> None:
        self._database = database
        self._sessions = sessions

    def give(self, request: FeedbackRequest, user: str) -> FeedbackRecord:
        """Log what somebody thinks of an adapter. The log keeps everything, the last word counts.

        Raises:
            SessionNotFound: no answer had that id, or it is not kept any more.
            AdapterNotFound: no such adapter.
        """
        self._sessions.flush()
        with self._database.write() as session:
            log = FeedbackWriter(session)
            shown = log.shown_in([request.session_id])
            if request.session_id not in shown:
                raise SessionNotFound(
                    f"There is no answer with the session id {request.session_id}; it may be too "
                    "old. Ask for recommendations again and use the id of that answer."
                )
            if Adapters(session).get(request.recommended_lora_id) is None:
                raise AdapterNotFound(f"There is no adapter {request.recommended_lora_id}.")
            event = FeedbackEvent(
                id=str(uuid.uuid4()),
                user=user,
                kind=request.feedback_type,
                adapter_id=request.recommended_lora_id,
                session_id=request.session_id,
                reason=request.feedback_reason,
                implicit=request.implicit_signal,
                created_at=utc_now(),
            )
            log.add(event)
            return _record(event, shown)

    def browse(self, asked: FeedbackQuery, user: str) -> FeedbackPage:
        """A page of what counts for that person, newest first."""
        with self._database.read() as session:
            log = FeedbackLog(session)
            filters = (asked.recommended_lora_id, asked.feedback_type)
            filtered = log.count(user, *filters)
            events = log.page(user, *filters, asked.per_page, (asked.page - 1) * asked.per_page)
            shown = log.shown_in({event.session_id for event in events if event.session_id})
            return FeedbackPage(
                items=[_record(event, shown) for event in events],
                total=log.count(user),
                filtered=filtered,
                page=asked.page,
                pages=math.ceil(filtered / asked.per_page),
                per_page=asked.per_page,
                counted_since=log.reset_at(user),
            )

    def take_back(self, event_id: str, user: str) -> None:
        """Delete one entry; raises `NotFound`."""
        with self._database.write() as session:
            if not FeedbackWriter(session).remove(user, event_id):
                raise NotFound(f"There is no feedback {event_id}.")

    def reset(self, user: str, with_preferences: bool) -> FeedbackReset:
        """Let that person's taste begin anew: their log is emptied, earlier pictures do not count.

        What others did stays, and so does what the person said they prefer, unless that is to go.
        """
        with self._database.write() as session:
            log = FeedbackWriter(session)
            now = utc_now()
            marker = FeedbackEvent(
                id=str(uuid.uuid4()),
                user=user,
                kind=RESET,
                adapter_id=_NO_ADAPTER,
                implicit=False,
                created_at=now,
            )
            deleted = log.reset(user, marker)
            if with_preferences:
                log.take_back_all(user)
            return FeedbackReset(deleted=deleted, counted_since=now)


def _record(event: FeedbackEvent, shown: Mapping[str, tuple[str, ...]]) -> FeedbackRecord:
    in_session = shown.get(event.session_id or "")
    return FeedbackRecord.model_validate(
        {
            "id": event.id,
            "session_id": event.session_id,
            "recommended_lora_id": event.adapter_id,
            "feedback_type": event.kind,
            "feedback_reason": event.reason,
            "implicit_signal": event.implicit,
            "created_at": event.created_at,
            "shown": None if in_session is None else event.adapter_id in in_session,
        }
    )
