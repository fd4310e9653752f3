"""What counts as a sign of taste, and how much.

The values are those of the experiment of this project (recommendations.md, section 4). An explicit
verdict is the last word a person said of an adapter; pictures made and kept speak for themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import NamedTuple

#: Feedback as people and clients give it.
POSITIVE = "positive"
NEGATIVE = "negative"
ACTIVATED = "activated"
IGNORED = "ignored"
DISMISSED = "dismissed"
#: Written by ourselves: taken out of the active set within a minute.
REMOVED = "removed"
#: No feedback, but the moment from which on pictures count; written by a reset.
RESET = "reset"
#: Found in the generations that ran.
USED = "used"
KEPT = "kept"

#: y of the formula. What is not named here says nothing of taste, but of what was shown.
VALUES: Mapping[str, float] = {
    POSITIVE: 1.0,
    NEGATIVE: -1.0,
    KEPT: 0.5,
    USED: 0.2,
    REMOVED: -0.3,
}
#: A result of this rating is as good as a favourite.
KEPT_FROM_RATING = 4
#: So often the use of one adapter counts on one (UTC) day.
MOST_USES_A_DAY = 5
#: After so long a sign counts half.
HALF_LIFE_S = 90 * 24 * 3600.0

_VERDICTS = (POSITIVE, NEGATIVE)
_ACCEPTING = (POSITIVE, ACTIVATED)


class Event(NamedTuple):
    """One row of the log; `at` is its time in seconds since 1970."""

    id: str
    user: str
    kind: str
    adapter_id: str
    session_id: str | None
    at: float


class Signal(NamedTuple):
    """One sign of taste that counts: y = `VALUES[kind]`, at that time."""

    kind: str
    at: float

    @property
    def value(self) -> float:
        """y of the formula."""
        return VALUES[self.kind]


def seconds(moment: str) -> float:
    """A time of the database (`common.clock`) in seconds since 1970."""
    return datetime.fromisoformat(moment[:-1] + "+00:00").timestamp()


def moment(at: float) -> datetime:
    """Such seconds as an aware time."""
    return datetime.fromtimestamp(at, timezone.utc)


def weight(at: float, now: float) -> float:
    """w of the formula, `2^(-age / 90 days)`."""
    return float(2.0 ** ((at - now) / HALF_LIFE_S))


def verdicts(events: Iterable[Event], user: str) -> dict[str, Event]:
    """Adapter → the last like or dislike of that user."""
    last: dict[str, Event] = {}
    for event in events:
        if event.user == user and event.kind in _VERDICTS:
            known = last.get(event.adapter_id)
            if known is None or (event.at, event.id) > (known.at, known.id):
                last[event.adapter_id] = event
    return last


@dataclass(slots=True)
class Shown:
    """How often an adapter was shown to somebody who reacted, and how often it was taken."""

    times: int = 0
    taken: int = 0


def outcome(events: Iterable[Event], shown: Iterable[str]) -> dict[str, bool]:
    """What became of what one session showed: adapter → whether it was taken.

    `events` is the feedback in that session, at least one: of a session without any nobody knows
    whether anybody looked. An adapter was taken if it was liked or activated and not disliked after
    that. Without `shown`, for the session is not kept any more, only the adapters of its feedback
    are known to have been shown.
    """
    told: dict[str, Event] = {}
    for event in events:
        known = told.get(event.adapter_id)
        if known is None or _outweighs(event, known):
            told[event.adapter_id] = event
    return {
        adapter_id: adapter_id in told and told[adapter_id].kind in _ACCEPTING
        for adapter_id in (shown or told)
    }


def _outweighs(event: Event, known: Event) -> bool:
    """Whether it says more than what is known: what was done or said, and of that the last."""
    decided = (*_ACCEPTING, NEGATIVE)
    return (event.kind in decided, event.at, event.id) > (known.kind in decided, known.at, known.id)
