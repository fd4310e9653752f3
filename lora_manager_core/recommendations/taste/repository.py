"""All queries of taste: the log of feedback, stated preferences, and what was made of pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.models import (
    Adapter,
    FeedbackEvent,
    GenerationRun,
    Preference,
    RecommendationSession,
    Result,
    RunAdapter,
)
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession
from lora_manager_core.recommendations.taste.signals import (
    KEPT_FROM_RATING,
    RESET,
    Event,
    seconds,
)

#: Ids listed in one statement (SQLite allows 32,766 parameters).
_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class StatedPreference:
    """One row of `preferences`; `value_key` is the value without case."""

    id: str
    user: str
    kind: str
    value: str
    value_key: str
    confidence: float
    explicit: bool


@dataclass(frozen=True, slots=True)
class Traits:
    """What can be preferred of one adapter."""

    id: str
    name: str
    tags: tuple[str, ...]
    author: str | None
    archetype: str | None
    base_model: str | None
    network_type: str | None


class FeedbackLog:
    """The log and the preferences, for reading."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def ids(self) -> set[str]:
        """The ids of all events."""
        return set(self._session.connection().scalars(select(FeedbackEvent.id)))

    def read(self, ids: Collection[str]) -> Iterator[Event]:
        """The events of those ids."""
        e = FeedbackEvent
        query = select(e.id, e.user, e.kind, e.adapter_id, e.session_id, e.created_at)
        for chunk in _chunks(ids):
            for row in self._session.execute(query.where(e.id.in_(chunk))):
                yield Event(*row[:5], seconds(row[5]))

    def shown_in(self, session_ids: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Session → the adapters that it showed, for those that are kept."""
        s = RecommendationSession
        found: dict[str, tuple[str, ...]] = {}
        for chunk in _chunks(session_ids):
            for session_id, shown in self._session.execute(
                select(s.id, s.shown).where(s.id.in_(chunk))
            ):
                found[session_id] = tuple(adapter[0] for adapter in shown)
        return found

    def preferences(self) -> list[StatedPreference]:
        """Everything that anybody said they prefer."""
        p = Preference
        rows = self._session.execute(
            select(p.id, p.user, p.kind, p.value, p.value_key, p.confidence, p.explicit).order_by(
                p.created_at, p.id
            )
        )
        return [StatedPreference(*row) for row in rows]

    def preferences_of(self, user: str) -> list[Preference]:
        """What one person said, the first first."""
        p = Preference
        query = select(p).where(p.user == user).order_by(p.created_at, p.id)
        return list(self._session.scalars(query))

    def traits(self, adapter_ids: Collection[str]) -> list[Traits]:
        """What those of the adapters are like that there are."""
        a = Adapter
        query = select(
            a.id, a.name, a.tags, a.author_username, a.archetype, a.base_model, a.network_type
        )
        return [
            Traits(row[0], row[1], tuple(row[2]), *row[3:])
            for chunk in _chunks(adapter_ids)
            for row in self._session.execute(query.where(a.id.in_(chunk)))
        ]

    def page(
        self, user: str, adapter_id: str | None, kind: str | None, limit: int, offset: int
    ) -> list[FeedbackEvent]:
        """A part of what counts for one person, newest first."""
        query = (
            select(FeedbackEvent)
            .where(_listed(user, adapter_id, kind))
            .order_by(FeedbackEvent.created_at.desc(), FeedbackEvent.id)
            .limit(limit)
            .offset(offset)
        )
        return list(self._session.scalars(query))

    def count(self, user: str, adapter_id: str | None = None, kind: str | None = None) -> int:
        """How many there are."""
        query = select(func.count()).select_from(FeedbackEvent)
        return int(self._session.scalar(query.where(_listed(user, adapter_id, kind))) or 0)

    def reset_at(self, user: str) -> str | None:
        """When that person's taste began anew, if ever."""
        return self._session.scalar(
            select(func.max(FeedbackEvent.created_at)).where(
                FeedbackEvent.user == user, FeedbackEvent.kind == RESET
            )
        )


class FeedbackWriter(FeedbackLog):
    """The log and the preferences, for writing; every change raises `feedback_revision`."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._session: WriteSession = session

    def add(self, event: FeedbackEvent) -> None:
        """Append to the log."""
        self._session.add(event)
        self._changed()

    def remove(self, user: str, event_id: str) -> bool:
        """Take one event that counts for that person out of the log; False if there is none."""
        event = self._session.scalars(
            select(FeedbackEvent).where(FeedbackEvent.id == event_id, _listed(user, None, None))
        ).first()
        if event is None:
            return False
        self._session.delete(event)
        self._changed()
        return True

    def reset(self, user: str, marker: FeedbackEvent) -> int:
        """Empty one person's log but for a marker; gives how many events went."""
        gone = self.count(user)
        mine = delete(FeedbackEvent).where(FeedbackEvent.user == user)
        self._session.execute(mine.execution_options(synchronize_session=False))
        self.add(marker)
        return gone

    def preference(self, user: str, kind: str, value_key: str) -> Preference | None:
        """What that person said of that value."""
        p = Preference
        query = select(p).where(p.user == user, p.kind == kind, p.value_key == value_key)
        return self._session.scalars(query).first()

    def state(self, preference: Preference) -> None:
        """Store a new or changed preference."""
        preference.updated_at = utc_now()
        self._session.add(preference)
        self._changed()

    def take_back(self, user: str, preference_id: str) -> bool:
        """Forget a preference; False if that person said no such thing."""
        preference = self._session.get(Preference, preference_id)
        if preference is None or preference.user != user:
            return False
        self._session.delete(preference)
        self._changed()
        return True

    def take_back_all(self, user: str) -> None:
        """Forget everything that person said they prefer."""
        mine = delete(Preference).where(Preference.user == user)
        self._session.execute(mine.execution_options(synchronize_session=False))
        self._changed()

    def _changed(self) -> None:
        self._session.flush()
        counters.raise_counter(self._session, counters.FEEDBACK)


class Pictures:
    """What the runs and their results tell of the adapters used."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def first_run(self) -> tuple[int, str] | None:
        """Number and time of the first run."""
        r = GenerationRun
        row = self._session.execute(select(r.id, r.finished_at).order_by(r.id).limit(1)).first()
        return None if row is None else (row[0], row[1])

    def run(self, number: int) -> tuple[int, str] | None:
        """Number and time of that run."""
        r = GenerationRun
        row = self._session.execute(select(r.id, r.finished_at).where(r.id == number)).first()
        return None if row is None else (row[0], row[1])

    def uses_after(self, number: int) -> Iterator[tuple[int, str, str | None]]:
        """Number, time and adapter of the uses in runs after that one, in the order of runs.

        A run without known adapters comes once, without one.
        """
        r, a = GenerationRun, RunAdapter
        query = (
            select(r.id, r.finished_at, a.adapter_id)
            .outerjoin(a, and_(a.run_id == r.id, a.adapter_id.is_not(None)))
            .where(r.id > number)
            .order_by(r.id)
        )
        for row in self._session.execute(query):
            yield row[0], row[1], row[2]

    def kept(self) -> list[tuple[str, str]]:
        """Time and adapter of what was used in results that are favourites or rated well."""
        r, a = GenerationRun, RunAdapter
        query = (
            select(Result.finished_at, a.adapter_id)
            .join(r, r.job_id == Result.job_id)
            .join(a, a.run_id == r.id)
            .where(
                or_(Result.is_favorite.is_(True), Result.rating >= KEPT_FROM_RATING),
                a.adapter_id.is_not(None),
            )
            .order_by(Result.finished_at, Result.job_id, a.position)
        )
        return [(row[0], str(row[1])) for row in self._session.execute(query)]


def _listed(user: str, adapter_id: str | None, kind: str | None) -> ColumnElement[bool]:
    """The events that a person may see: their own, and those of no one that count for all."""
    e = FeedbackEvent
    clauses: list[ColumnElement[bool]] = [
        or_(e.user == user, and_(e.user == "", e.implicit.is_(True))),
        e.kind != RESET,
    ]
    if adapter_id is not None:
        clauses.append(e.adapter_id == adapter_id)
    if kind is not None:
        clauses.append(e.kind == kind)
    return and_(*clauses)


def _chunks(ids: Collection[str]) -> Iterator[list[Any]]:
    listed = list(ids)
    for start in range(0, len(listed), _CHUNK):
        yield listed[start : start + _CHUNK]
