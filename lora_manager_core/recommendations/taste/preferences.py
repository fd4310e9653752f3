"""What people do with preferences: say them, take them back, look at what was said and learned."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from lora_manager_core.common.clock import utc_now, utc_text
from lora_manager_core.common.words import word_key
from lora_manager_core.db.models import Preference
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import NotFound
from lora_manager_core.recommendations.taste.book import PersonalBook
from lora_manager_core.recommendations.taste.learned import learn
from lora_manager_core.recommendations.taste.repository import (
    FeedbackLog,
    FeedbackWriter,
    StatedPreference,
    Traits,
)
from lora_manager_core.recommendations.taste.schemas import (
    PreferenceRecord,
    PreferenceRequest,
    PreferencesAnswer,
)
from lora_manager_core.recommendations.taste.scores import Taste
from lora_manager_core.recommendations.taste.signals import moment
from lora_manager_core.recommendations.taste.stated import matching


class PreferenceService:
    """What people prefer, as they say and as it is learned; `user` is empty without users."""

    def __init__(
        self, database: Database, taste: Taste, now: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._taste = taste
        self._now = now

    def state(self, request: PreferenceRequest, user: str) -> PreferenceRecord:
        """Store a preference; one of the same type and value takes the new confidence."""
        value_key = word_key(request.preference_value)
        with self._database.write() as session:
            log = FeedbackWriter(session)
            preference = log.preference(user, request.preference_type, value_key)
            if preference is None:
                preference = Preference(
                    id=str(uuid.uuid4()),
                    user=user,
                    kind=request.preference_type,
                    value_key=value_key,
                    created_at=utc_now(),
                )
            preference.value = request.preference_value
            preference.confidence = request.confidence
            preference.explicit = request.explicit
            log.state(preference)
        return next(record for record in self.list(user).stated if record.id == preference.id)

    def list(self, user: str) -> PreferencesAnswer:
        """What that person said, and what was learned of what they did."""
        book = self._taste.book(user)
        with self._database.read() as session:
            log = FeedbackLog(session)
            adapters = log.traits(book.signals)
            stated = _with_evidence(log.preferences_of(user), adapters, book)
        return PreferencesAnswer(stated=stated, learned=learn(book.signals, adapters, self._now()))

    def take_back(self, preference_id: str, user: str) -> None:
        """Forget a preference; raises `NotFound`."""
        with self._database.write() as session:
            if not FeedbackWriter(session).take_back(user, preference_id):
                raise NotFound(f"There is no preference {preference_id}.")


def _with_evidence(
    preferences: Sequence[Preference], adapters: Sequence[Traits], book: PersonalBook
) -> list[PreferenceRecord]:
    stated = [
        StatedPreference(p.id, p.user, p.kind, p.value, p.value_key, p.confidence, p.explicit)
        for p in preferences
    ]
    records = []
    for preference, rows in zip(preferences, matching(stated, adapters), strict=True):
        signs = [s for row in rows for s in book.signals[adapters[row].id] if s.value > 0]
        records.append(
            PreferenceRecord.model_validate(
                {
                    "id": preference.id,
                    "preference_type": preference.kind,
                    "preference_value": preference.value,
                    "confidence": preference.confidence,
                    "learned_from": "explicit" if preference.explicit else "client",
                    "evidence_count": len(signs),
                    "last_evidence_at": (
                        utc_text(moment(max(sign.at for sign in signs))) if signs else None
                    ),
                    "created_at": preference.created_at,
                    "updated_at": preference.updated_at,
                }
            )
        )
    return records
