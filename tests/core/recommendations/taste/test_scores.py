"""Scores of taste against the formula written out, and after any change against a fresh start."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from lora_manager_core.common.clock import utc_text
from lora_manager_core.db import counters
from lora_manager_core.db.models import (
    FeedbackEvent,
    GenerationRun,
    Preference,
    RecommendationSession,
)
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.recommendations.taste.scores import Taste, TasteScores
from tests.fakes.known_adapters import FakeAdapter, FakeCatalogue, unit_rows
from tests.fakes.runs import add_run

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
KEY = "a model"


@dataclass
class Clock:
    """A time that tests set."""

    at: datetime = NOW

    def __call__(self) -> float:
        return self.at.timestamp()


def catalogue(size: int = 6, seed: int = 1) -> FakeCatalogue:
    entries = [FakeAdapter(f"a{i}", tags=(f"t{i % 3}", f"u{i % 2}")) for i in range(size)]
    return FakeCatalogue(entries, unit_rows(size, 8, seed))


def log(
    database: Database,
    kind: str,
    adapter_id: str,
    days_ago: float = 0.0,
    *,
    user: str = "",
    session_id: str | None = None,
    at: datetime = NOW,
) -> str:
    event_id = str(uuid.uuid4())
    with database.write() as session:
        session.add(
            FeedbackEvent(
                id=event_id,
                user=user,
                kind=kind,
                adapter_id=adapter_id,
                session_id=session_id,
                implicit=kind == "removed",
                created_at=utc_text(at - timedelta(days=days_ago)),
            )
        )
        counters.raise_counter(session, counters.FEEDBACK)
    return event_id


def expected(
    known: FakeCatalogue, signs: Sequence[tuple[str, float, float]], row: int
) -> tuple[float, float]:
    """The formula of section 4 for signs (adapter, y, age in days): `pref` and its denominator."""
    up, down = 0.0, 1.0
    for adapter_id, y, days in signs:
        cosine = float(known.vectors[row] @ known.vectors[known.row_of[adapter_id]])
        k, w = math.exp((cosine - 1) / 0.15), 2 ** (-days / 90)
        up, down = up + y * w * k, down + w * k
    return up / down, down


class TestPref:
    def test_is_the_formula(self, database: Database) -> None:
        known = catalogue()
        log(database, "positive", "a0", 30)
        log(database, "negative", "a1", 1)
        log(database, "removed", "a2", 200)
        scores = Taste(database, Clock()).scores(known, "", KEY)
        signs = [("a0", 1.0, 30.0), ("a1", -1.0, 1.0), ("a2", -0.3, 200.0)]
        for row in range(len(known.entries)):
            assert scores.pref[row] == pytest.approx(expected(known, signs, row)[0], abs=1e-6)
        assert scores.n == 3

    def test_fades_while_nothing_is_read(self, database: Database) -> None:
        known, clock = catalogue(), Clock()
        log(database, "positive", "a0")
        taste = Taste(database, clock)
        taste.scores(known, "", KEY)
        clock.at += timedelta(days=90)
        scores = taste.scores(known, "", KEY)
        assert scores.pref[0] == pytest.approx(0.5 / 1.5)

    def test_the_same_said_twice_counts_once(self, database: Database) -> None:
        known = catalogue()
        log(database, "positive", "a0", 5)
        log(database, "positive", "a0", 0)
        scores = Taste(database, Clock()).scores(known, "", KEY)
        assert (scores.n, scores.pref[0]) == (1, pytest.approx(0.5))

    def test_the_last_word_counts(self, database: Database) -> None:
        known = catalogue()
        log(database, "negative", "a0", 1)
        log(database, "positive", "a0", 0)
        scores = Taste(database, Clock()).scores(known, "", KEY)
        assert (scores.n, scores.pref[0]) == (1, pytest.approx(0.5))

    def test_belongs_to_one_person(self, database: Database) -> None:
        known = catalogue()
        log(database, "positive", "a0", user="ada")
        taste = Taste(database, Clock())
        assert taste.scores(known, "ada", KEY).pref[0] == pytest.approx(0.5)
        bob = taste.scores(known, "bob", KEY)
        assert (bob.n, bob.pref.any()) == (0, False)

    def test_what_only_tells_of_a_list_is_no_sign(self, database: Database) -> None:
        for kind in ("activated", "ignored", "dismissed"):
            log(database, kind, "a0", session_id=str(uuid.uuid4()))
        scores = Taste(database, Clock()).scores(catalogue(), "", KEY)
        assert (scores.n, scores.pref.any()) == (0, False)

    def test_without_vectors_tags_are_compared(self, database: Database) -> None:
        known = catalogue()
        log(database, "positive", "a0")
        scores = Taste(database, Clock()).scores(known, "")
        half = math.exp((0.5 - 1) / 0.15)  # a2 shares one of two tags, a1 none of them
        none = math.exp(-1 / 0.15)
        assert scores.pref[:3] == pytest.approx([0.5, none / (1 + none), half / (1 + half)])

    def test_an_adapter_without_a_vector_is_compared_by_tags(self, database: Database) -> None:
        known = catalogue()
        known.vectors[2] = 0
        log(database, "positive", "a2")
        scores = Taste(database, Clock()).scores(known, "", KEY)
        half = math.exp((0.5 - 1) / 0.15)
        assert scores.pref[[2, 0]] == pytest.approx([0.5, half / (1 + half)])

    def test_signs_of_adapters_that_are_gone_do_not_count(self, database: Database) -> None:
        log(database, "positive", "gone")
        scores = Taste(database, Clock()).scores(catalogue(), "", KEY)
        assert (scores.n, scores.pref.any()) == (0, False)


class TestBecause:
    def test_summands_make_up_the_score(self, database: Database) -> None:
        known = catalogue()
        log(database, "positive", "a0")
        log(database, "negative", "a1")
        _prefer(database, "tag", "T2", 0.4)
        scores = Taste(database, Clock()).scores(known, "", KEY)
        for row in range(len(known.entries)):
            reasons = scores.because(row, most=9)
            assert sum(r.share for r in reasons) == pytest.approx(scores.pref[row], abs=1e-6)
            assert [abs(r.share) for r in reasons] == sorted(
                (abs(r.share) for r in reasons), reverse=True
            )
        first = scores.because(0)[0]
        assert (first.adapter_id, first.name, first.kind) == ("a0", "the a0", "positive")
        assert (scores.because(2)[0].adapter_id, scores.because(2)[0].name) == (None, "T2")


class TestStatedPreferences:
    def test_are_likes_of_what_is_so(self, database: Database) -> None:
        _prefer(database, "tag", "T1", 0.6)
        scores = Taste(database, Clock()).scores(catalogue(), "", KEY)
        assert scores.pref == pytest.approx([0, 0.3, 0, 0, 0.3, 0])
        assert scores.n == 1

    @pytest.mark.parametrize(
        ("kind", "value", "met"),
        [
            ("author", "ADA", True),
            ("archetype", "character", True),
            ("style", "character", True),
            ("style", "ink", True),
            ("technical", "lokr", True),
            ("technical", "Pony Diffusion V6", True),
            ("technical", "sdxl", True),
            ("technical", "SD 1.5", False),
            ("author", "ink", False),
            ("tag", "ada", False),
        ],
    )
    def test_are_met_by_traits(self, database: Database, kind: str, value: str, met: bool) -> None:
        entry = FakeAdapter("a0", ("Ink",), "Ada", "Character", "Pony", "LoKr")
        _prefer(database, kind, value, 1.0)
        known = FakeCatalogue([entry], unit_rows(1, 4, 0))
        assert bool(Taste(database, Clock()).scores(known, "", KEY).pref[0]) is met


class TestPop:
    def test_is_the_shrunk_share_that_was_taken(self, database: Database) -> None:
        sessions = [_show(database, "a0", "a1") for _ in range(3)]
        log(database, "activated", "a0", session_id=sessions[0])
        log(database, "positive", "a0", session_id=sessions[1])
        log(database, "positive", "a0", session_id=sessions[1])
        scores = Taste(database, Clock()).scores(catalogue(), "", KEY)
        # Nobody reacted in the third session.
        assert scores.pop[:3] == pytest.approx([2.5 / 4.5 - 0.2, 0.5 / 4.5 - 0.2, 0])

    def test_what_was_disliked_after_all_was_not_taken(self, database: Database) -> None:
        session_id = _show(database, "a0")
        log(database, "activated", "a0", 2, session_id=session_id)
        log(database, "negative", "a0", 1, session_id=session_id)
        log(database, "ignored", "a0", 0, session_id=session_id)
        scores = Taste(database, Clock()).scores(catalogue(), "", KEY)
        assert scores.pop[0] == pytest.approx(0.5 / 3.5 - 0.2)

    def test_what_was_not_shown_is_not_counted(self, database: Database) -> None:
        log(database, "positive", "a1", session_id=_show(database, "a0"))
        scores = Taste(database, Clock()).scores(catalogue(), "", KEY)
        assert scores.pop[:2] == pytest.approx([0.5 / 3.5 - 0.2, 0])

    def test_of_a_forgotten_session_only_its_feedback_is_known(self, database: Database) -> None:
        log(database, "positive", "a1", session_id="forgotten")
        scores = Taste(database, Clock()).scores(catalogue(), "", KEY)
        assert scores.pop[:2] == pytest.approx([0, 1.5 / 3.5 - 0.2])


KINDS = ["positive", "negative", "activated", "ignored", "dismissed", "removed", "reset"]
changes = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, "delete", "prefer", "rename", "embed", "add", "drop"]),
        st.integers(0, 7),
        st.floats(0, 400),
    ),
    min_size=1,
    max_size=8,
)


class TestFollowing:
    @given(changes=changes)
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    def test_any_changes_give_what_a_fresh_start_gives(
        self, database: Database, changes: list[tuple[str, int, float]]
    ) -> None:
        with database.write() as session:
            for model in (FeedbackEvent, Preference):
                session.execute(delete(model))
            counters.raise_counter(session, counters.FEEDBACK)
        known, clock, logged = catalogue(), Clock(), [""]
        taste = Taste(database, clock)
        for kind, number, days in changes:
            clock.at += timedelta(days=1)
            if kind in KINDS:
                logged.append(log(database, kind, f"a{number}", days, at=clock.at))
            elif kind == "delete":
                with database.write() as session:
                    gone = FeedbackEvent.id == logged[number % len(logged)]
                    session.execute(delete(FeedbackEvent).where(gone))
                    counters.raise_counter(session, counters.FEEDBACK)
            elif kind == "prefer":
                _prefer(database, "tag", f"t{number}", 0.5, f"{uuid.uuid4()}")
            else:
                known = _changed(known, kind, number)
            key = KEY if number % 4 else None
            _same(taste.scores(known, "", key), Taste(database, clock).scores(known, "", key))

    def test_scores_stay_in_their_bounds(self, database: Database) -> None:
        for number in range(60):
            log(database, ("positive", "removed", "negative")[number % 3], f"a{number % 6}")
        scores = Taste(database, Clock()).scores(catalogue(), "", KEY)
        assert (np.abs(scores.pref) <= 1).all()
        assert ((scores.pop > -0.2) & (scores.pop < 0.8)).all()


class TestPictures:
    def test_count_at_most_five_times_a_day(self, home) -> None:
        database = home.application.database
        alice = home.adapter("alice")["id"]
        known = FakeCatalogue([FakeAdapter(alice)], unit_rows(1, 4, 0))
        taste = Taste(database, Clock())
        for count in range(1, 8):
            _use(database, alice, NOW)
            assert taste.scores(known, "", KEY).n == min(count, 5)
        _use(database, alice, NOW - timedelta(days=1))
        scores = taste.scores(known, "", KEY)
        assert scores.n == 6
        _same(scores, Taste(database, Clock()).scores(known, "", KEY))

    def test_that_were_kept_count_more(self, home) -> None:
        database = home.application.database
        body = {"prompt": f"<lora:{home.adapter('alice')['prompt_name']}:1>"}
        made = home.client.post("/v1/generation/generate", json=body).json()
        known = FakeCatalogue([FakeAdapter(home.adapter("alice")["id"])], unit_rows(1, 4, 0))
        taste = Taste(database)
        assert taste.scores(known, "", KEY).pref[0] == pytest.approx(0.2 / 2, abs=1e-4)
        address = f"/v1/generation/results/{made['job_id']}"
        for change, value in [
            ({"rating": 3}, 0.2 / 2),
            ({"rating": 4}, 0.7 / 3),
            ({"rating": None, "is_favorite": True}, 0.7 / 3),
            ({"is_favorite": False}, 0.2 / 2),
        ]:
            assert home.client.patch(address, json=change).status_code == 200
            assert taste.scores(known, "", KEY).pref[0] == pytest.approx(value, abs=1e-4)

    def test_that_took_the_place_of_others_are_read_anew(self, home) -> None:
        database = home.application.database
        alice = home.adapter("alice")["id"]
        known = FakeCatalogue([FakeAdapter(alice)], unit_rows(1, 4, 0))
        taste = Taste(database, Clock())
        for _ in range(3):
            _use(database, alice, NOW)
        assert taste.scores(known, "", KEY).n == 3
        with database.write() as session:
            session.execute(delete(GenerationRun))
        for days in range(4):
            _use(database, alice, NOW - timedelta(days=days + 1))
        assert taste.scores(known, "", KEY).n == 4


def _same(scores: TasteScores, fresh: TasteScores) -> None:
    assert scores.n == fresh.n
    assert np.allclose(scores.pref, fresh.pref, atol=1e-6)
    assert np.array_equal(scores.pop, fresh.pop)


def _changed(known: FakeCatalogue, how: str, number: int) -> FakeCatalogue:
    entries, vectors = list(known.entries), known.vectors.copy()
    row = number % len(entries)
    if how == "rename":
        entries[row] = replace(entries[row], tags=("t0", f"t{number}"))
    elif how == "embed":
        vectors[row] = unit_rows(1, 8, number) if number % 3 else 0
    elif how == "add" and f"a{number}" not in known.row_of:
        entries.insert(row, FakeAdapter(f"a{number}", ("t1",)))
        vectors = np.insert(vectors, row, unit_rows(1, 8, number), axis=0)
    elif how == "drop" and len(entries) > 1:
        del entries[row]
        vectors = np.delete(vectors, row, axis=0)
    return FakeCatalogue(entries, vectors)


def _prefer(
    database: Database, kind: str, value: str, confidence: float, preference_id: str = "one"
) -> None:
    with database.write() as session:
        session.execute(
            delete(Preference).where(Preference.kind == kind, Preference.value == value)
        )
        session.add(
            Preference(
                id=preference_id,
                user="",
                kind=kind,
                value=value,
                value_key=value.casefold(),
                confidence=confidence,
                explicit=True,
                created_at=utc_text(NOW),
                updated_at=utc_text(NOW),
            )
        )
        counters.raise_counter(session, counters.FEEDBACK)


def _show(database: Database, *adapter_ids: str) -> str:
    session_id = str(uuid.uuid4())
    with database.write() as session:
        session.execute(
            insert(RecommendationSession),
            [
                {
                    "id": session_id,
                    "kind": "similar",
                    "mode": "lexical",
                    "shown": [[adapter_id, 1.0] for adapter_id in adapter_ids],
                    "duration_ms": 1.0,
                    "created_at": utc_text(NOW),
                }
            ],
        )
    return session_id


def _use(database: Database, adapter_id: str, at: datetime) -> None:
    add_run(database, utc_text(at), {adapter_id: 1.0})
    with database.write() as session:
        counters.raise_counter(session, counters.FEEDBACK)
