"""What is in the database of taste, kept in memory; of what is new, only that is read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from lora_manager_core.db import counters
from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.recommendations.taste.repository import (
    FeedbackLog,
    Pictures,
    StatedPreference,
)
from lora_manager_core.recommendations.taste.signals import (
    KEPT,
    MOST_USES_A_DAY,
    REMOVED,
    RESET,
    USED,
    Event,
    Shown,
    Signal,
    outcome,
    seconds,
    verdicts,
)


@dataclass(frozen=True, slots=True)
class PersonalBook:
    """What counts for one person: signs by adapter, what they said they prefer; and for all: what
    was shown."""

    signals: dict[str, list[Signal]]
    preferences: list[StatedPreference]
    shown: dict[str, Shown]


class TasteBook:
    """Follows the log, the runs and the results of one database. Not for several threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: The value of the counter `feedback_revision` that this is the state of.
        self.revision = -1
        self._events: dict[str, Event] = {}
        self._of_session: dict[str, dict[str, Event]] = defaultdict(dict)
        self._shown_in: dict[str, tuple[str, ...]] = {}
        self._outcomes: dict[str, dict[str, bool]] = {}
        self._preferences: list[StatedPreference] = []
        #: Adapter and day → the last times of use on that day, as many as count.
        self._uses: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._kept: list[tuple[str, float]] = []
        self._first_run: tuple[int, str] | None = None
        self._last_run: tuple[int, str] | None = None
        self._shown: dict[str, Shown] = {}

    def catch_up(self) -> None:
        """Read what changed since the last time."""
        with self._database.read() as session:
            revision = counters.read_counter(session, counters.FEEDBACK)
            if revision == self.revision:
                return
            self._read_log(session)
            self._read_pictures(Pictures(session))
            self.revision = revision

    def of(self, user: str, now: float) -> PersonalBook:
        """What counts for that person.

        What was done with pictures, and taken out of the active set, is of no one: it counts for
        everybody, from their own last reset on.
        """
        events = self._events.values()
        since = max((e.at for e in events if e.kind == RESET and e.user == user), default=0.0)
        signals: dict[str, list[Signal]] = defaultdict(list)
        for adapter_id, verdict in verdicts(events, user).items():
            signals[adapter_id].append(Signal(verdict.kind, min(verdict.at, now)))
        for event in events:
            if event.kind == REMOVED and event.at > since:
                signals[event.adapter_id].append(Signal(REMOVED, min(event.at, now)))
        for (adapter_id, _), times in self._uses.items():
            signals[adapter_id] += [Signal(USED, min(at, now)) for at in times if at > since]
        for adapter_id, at in self._kept:
            if at > since:
                signals[adapter_id].append(Signal(KEPT, min(at, now)))
        own = [stated for stated in self._preferences if stated.user == user]
        return PersonalBook({i: found for i, found in signals.items() if found}, own, self._shown)

    def _read_log(self, session: ReadSession) -> None:
        log = FeedbackLog(session)
        ids = log.ids()
        touched: set[str] = set()
        for gone in self._events.keys() - ids:
            event = self._events.pop(gone)
            if event.session_id is not None:
                del self._of_session[event.session_id][event.id]
                touched.add(event.session_id)
        for event in log.read(ids - self._events.keys()):
            self._events[event.id] = event
            if event.session_id is not None:
                self._of_session[event.session_id][event.id] = event
                touched.add(event.session_id)
        new = touched - self._shown_in.keys()
        self._shown_in.update(dict.fromkeys(new, ()) | log.shown_in(new))
        for session_id in touched:
            self._count(session_id)
        self._preferences = log.preferences()

    def _count(self, session_id: str) -> None:
        """Count what became of one session anew."""
        for adapter_id, taken in self._outcomes.pop(session_id, {}).items():
            shown = self._shown[adapter_id]
            shown.times -= 1
            shown.taken -= taken
        events = self._of_session[session_id].values()
        if not events:
            del self._of_session[session_id], self._shown_in[session_id]
            return
        self._outcomes[session_id] = outcome(events, self._shown_in[session_id])
        for adapter_id, taken in self._outcomes[session_id].items():
            shown = self._shown.setdefault(adapter_id, Shown())
            shown.times += 1
            shown.taken += taken

    def _read_pictures(self, pictures: Pictures) -> None:
        ends = pictures.first_run(), pictures.run(self._last_run[0]) if self._last_run else None
        if ends != (self._first_run, self._last_run):  # other runs took their place
            self._uses.clear()
            self._last_run = None
            self._first_run = ends[0]
        for number, finished_at, adapter_id in pictures.uses_after(
            self._last_run[0] if self._last_run else -1
        ):
            self._last_run = (number, finished_at)
            if adapter_id is not None:
                times = self._uses[adapter_id, finished_at[:10]]
                times.append(seconds(finished_at))
                times.sort(reverse=True)
                del times[MOST_USES_A_DAY:]
        self._kept = [(adapter_id, seconds(at)) for at, adapter_id in pictures.kept()]
