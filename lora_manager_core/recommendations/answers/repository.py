"""The counts that statistics of recommendations show."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from lora_manager_core.db.models import FeedbackEvent, Preference, RecommendationSession
from lora_manager_core.db.unit_of_work import ReadSession


@dataclass(frozen=True, slots=True)
class LogCounts:
    """How many rows the logs hold, of all users."""

    sessions: int
    feedback: int
    preferences: int


def log_counts(session: ReadSession) -> LogCounts:
    """Count them."""
    return LogCounts(
        *(
            int(session.scalar(select(func.count()).select_from(model)) or 0)
            for model in (RecommendationSession, FeedbackEvent, Preference)
        )
    )
