"""Feedback and preferences of an archive, among those that are here."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.db.models import FeedbackEvent, TextVectors, WeightSketch
from lora_manager_core.import_export.imports.repository import ImportWriter
from lora_manager_core.recommendations.taste.scores import Taste
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    EVENT_ID,
    OTHER_ID,
    PREFERENCE_ID,
    dump,
    own_members,
    rows,
    sealed,
)
from tests.importing import everything, sample_with, send, stored, take_in, zipped
from tests.libraries import plain_row

_TABLES = ("feedback_events", "preferences")


@pytest.fixture
def archive(tmp_path):
    """Make an archive; arguments are the rows of its tables, all else is as in the sample."""

    return partial(sample_with, tmp_path)


def event(**changes: Any) -> dict[str, Any]:
    return {**rows()["feedback_events"][0], **changes}


def preference(**changes: Any) -> dict[str, Any]:
    return {**rows()["preferences"][0], **changes}


class TestFeedback:
    def test_counts_from_then_on(self, home, archive):
        taste = home.application.services.get(Taste)
        assert taste.book("").signals == {}
        take_in(home, archive())
        assert [s.kind for s in taste.book("").signals[ADAPTER_ID]] == ["positive", "used", "kept"]

    def test_that_is_here_is_left_as_it_is(self, home, archive):
        take_in(home, archive())
        take_in(home, archive(feedback_events=[event(reason="something else")]))
        (row,) = stored(home, "feedback_events")
        assert (row["id"], row["reason"]) == (EVENT_ID, "so calm")

    def test_follows_an_adapter_that_becomes_another_here(self, home, archive):
        """The archive's adapter is the one here of the same file and name, under its id here."""
        take_in(home, archive())
        members = {
            name.replace(ADAPTER_ID, OTHER_ID): content.replace(
                ADAPTER_ID.encode(), OTHER_ID.encode()
            )
            for name, content in own_members().items()
        }
        members["tables/feedback_events.jsonl"] = dump(event(id=PREFERENCE_ID, adapter_id=OTHER_ID))
        result = send(
            home,
            zipped(home.library.parent, sealed(members)),
            conflict_resolution="skip",
        )["results"][0]
        assert result["status"] == "imported", result
        known = {row["id"]: row["adapter_id"] for row in stored(home, "feedback_events")}
        with home.application.database.read() as session:
            here = {adapter.id for adapter in Adapters(session).get_many(list(known.values()))}
        assert set(known.values()) <= here

    def test_of_an_unknown_adapter_is_kept(self, home, archive):
        gone = "00000000-1111-4222-8333-444444444444"
        take_in(home, archive(feedback_events=[event(adapter_id=gone)]))
        assert stored(home, "feedback_events")[0]["adapter_id"] == gone

    def test_of_an_unknown_kind_is_refused(self, home, archive):
        before = everything(home)
        result = send(home, archive(feedback_events=[event(kind="adored")]))["results"][0]
        assert (result["status"], result["code"]) == ("error", "archive_refused")
        assert everything(home) == before


class TestPreferences:
    KEY = "choices:preferences//tag/ink"

    @pytest.fixture
    def ours(self, home):
        body = {"preference_type": "tag", "preference_value": "INK", "confidence": 0.25}
        said = home.client.post("/v1/recommendations/preferences", json=body)
        assert said.status_code == 200, said.text
        return said.json()["id"]

    def test_are_found_by_value_without_case(self, home, archive):
        take_in(home, archive())
        (row,) = stored(home, "preferences")
        assert (row["value"], row["value_key"], row["confidence"]) == ("Ink", "ink", 0.75)

    def test_said_otherwise_are_a_conflict(self, home, archive, ours):
        result = send(home, archive())["results"][0]
        assert result["status"] == "conflicts"
        conflicts = {c["key"]: c for c in result["conflicts"]}
        assert conflicts[self.KEY]["differs"] == ["value", "confidence"]
        assert stored(home, "preferences")[0]["id"] == ours

    @pytest.mark.parametrize(
        ("rule", "confidence"), [("skip", 0.25), ("merge", 0.25), ("replace", 0.75)]
    )
    def test_follow_the_rule_for_choices(self, home, archive, ours, rule, confidence):
        take_in(home, archive(), rules={"choices": rule})
        (row,) = stored(home, "preferences")
        assert row["confidence"] == confidence
        assert row["id"] == (PREFERENCE_ID if rule == "replace" else ours)

    def test_of_an_id_that_means_another_here_get_one_of_their_own(self, home, archive):
        take_in(home, archive())
        other = archive(preferences=[preference(value="water")])
        take_in(home, other)
        take_in(home, other)
        found = {row["value"]: row["id"] for row in stored(home, "preferences")}
        assert found["Ink"] == PREFERENCE_ID
        assert found["water"] not in ("", PREFERENCE_ID)
        assert len(found) == 2

    @pytest.mark.parametrize(
        "second",
        [preference(id=EVENT_ID, value="iNK"), preference(value="water")],
        ids=["value", "id"],
    )
    def test_twice_in_one_archive_are_refused(self, home, archive, second):
        result = send(home, archive(preferences=[preference(), second]))["results"][0]
        assert (result["status"], result["code"]) == ("error", "archive_refused")

    @pytest.mark.parametrize("changes", [{"kind": "mood"}, {"confidence": 1.5}], ids=str)
    def test_that_nobody_could_say_are_refused(self, home, archive, changes):
        result = send(home, archive(preferences=[preference(**changes)]))["results"][0]
        assert (result["status"], result["code"]) == ("error", "archive_refused")


class TestAnAdapterThatGetsAnotherId:
    def test_takes_its_feedback_along_and_is_looked_at_anew(self, home):
        alice = home.adapter("alice")["id"]
        with home.application.database.write() as session:
            session.add(FeedbackEvent(**event(adapter_id=alice, session_id=None)))
            for model in (TextVectors, WeightSketch):
                columns = list(model.__table__.columns.keys())
                session.add(model(**plain_row(model, columns, adapter_id=alice)))
        with home.application.database.write() as session:
            ImportWriter(session).change_ids({alice: OTHER_ID})
        assert stored(home, "feedback_events")[0]["adapter_id"] == OTHER_ID
        with home.application.database.read() as session:
            assert session.query(TextVectors).count() + session.query(WeightSketch).count() == 0
