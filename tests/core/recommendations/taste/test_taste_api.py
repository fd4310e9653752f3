"""Feedback and preferences over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lora_manager_core.generation.runs import FROM_UI, Run, RunWriter
from lora_manager_core.recommendations.taste.removals import RemovalWatch
from lora_manager_core.recommendations.taste.sessions import SessionLog, find_session
from tests.core.conftest import Home

URL = "/v1/recommendations"


def shown(home: Home, *names: str) -> str:
    """The id of an answer that showed those adapters."""
    pairs = [(home.adapter(name)["id"], 0.5) for name in names]
    sessions = home.application.services.get(SessionLog)
    return sessions.open("for_prompt", "ink", None, "lexical", pairs, 1.0)


def give(home: Home, session_id: str, name: str, kind: str, **more: Any) -> dict[str, Any]:
    body = {
        "session_id": session_id,
        "recommended_lora_id": home.adapter(name)["id"],
        "feedback_type": kind,
        **more,
    }
    answer = home.client.post(f"{URL}/feedback", json=body)
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def log(home: Home, **query: Any) -> dict[str, Any]:
    answer = home.client.get(f"{URL}/feedback", params=query)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def preferences(home: Home) -> dict[str, Any]:
    answer = home.client.get(f"{URL}/preferences")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


class TestGivingFeedback:
    def test_gives_the_record_that_is_logged(self, home: Home) -> None:
        session_id = shown(home, "alice", "Zebra")
        record = give(home, session_id, "alice", "positive", feedback_reason="her hair")
        assert record == {
            "id": record["id"],
            "session_id": session_id,
            "recommended_lora_id": home.adapter("alice")["id"],
            "feedback_type": "positive",
            "feedback_reason": "her hair",
            "implicit_signal": False,
            "created_at": record["created_at"],
            "shown": True,
        }
        assert log(home)["items"] == [record]

    def test_of_an_adapter_that_was_not_shown_is_taken_and_said(self, home: Home) -> None:
        record = give(home, shown(home, "alice"), "Zebra", "positive", implicit_signal=True)
        assert (record["shown"], record["implicit_signal"]) == (False, True)

    def test_in_an_unknown_session_is_refused(self, home: Home) -> None:
        body = {
            "session_id": "nobody's",
            "recommended_lora_id": home.adapter("alice")["id"],
            "feedback_type": "positive",
        }
        answer = home.client.post(f"{URL}/feedback", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")

    def test_of_an_unknown_adapter_is_refused(self, home: Home) -> None:
        body = {
            "session_id": shown(home, "alice"),
            "recommended_lora_id": "nobody",
            "feedback_type": "positive",
        }
        answer = home.client.post(f"{URL}/feedback", json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "adapter_not_found")
        assert log(home)["total"] == 0

    @pytest.mark.parametrize("kind", ["removed", "reset", "love", ""])
    def test_of_a_kind_that_nobody_may_send_is_refused(self, home: Home, kind: str) -> None:
        body = {"session_id": "s", "recommended_lora_id": "a", "feedback_type": kind}
        assert home.client.post(f"{URL}/feedback", json=body).status_code == 422


class TestTheLog:
    def test_is_paged_newest_first_and_filtered(self, home: Home) -> None:
        session_id = shown(home, "alice", "Zebra")
        for kind in ("ignored", "positive", "negative"):
            give(home, session_id, "alice", kind)
        give(home, session_id, "Zebra", "positive")
        page = log(home, per_page=3)
        assert [item["feedback_type"] for item in page["items"]] == [
            "positive", "negative", "positive",
        ]  # fmt: skip
        assert (page["total"], page["filtered"], page["pages"]) == (4, 4, 2)
        assert [i["feedback_type"] for i in log(home, per_page=3, page=2)["items"]] == ["ignored"]
        zebra = log(home, recommended_lora_id=home.adapter("Zebra")["id"])
        assert (len(zebra["items"]), zebra["total"], zebra["filtered"]) == (1, 4, 1)
        assert log(home, feedback_type="positive")["filtered"] == 2

    def test_an_entry_can_be_taken_back_once(self, home: Home) -> None:
        record = give(home, shown(home, "alice"), "alice", "positive")
        address = f"{URL}/feedback/{record['id']}"
        assert home.client.delete(address).status_code == 204
        assert home.client.delete(address).status_code == 404
        assert log(home)["items"] == []
        assert preferences(home)["learned"] == []


class TestReset:
    def test_empties_the_log_and_forgets_the_pictures_made_before(self, home: Home) -> None:
        home.client.patch(f"/v1/adapters/{home.adapter('alice')['id']}", json={"tags": ["girl"]})
        give(home, shown(home, "alice"), "alice", "positive")
        _run(home, "alice")
        assert {p["preference_value"] for p in preferences(home)["learned"]} >= {"girl"}
        answer = home.client.delete(f"{URL}/feedback").json()
        assert answer["deleted"] == 1
        assert preferences(home)["learned"] == []
        page = log(home)
        assert (page["items"], page["counted_since"]) == ([], answer["counted_since"])
        _run(home, "alice")
        (learned,) = [p for p in preferences(home)["learned"] if p["preference_value"] == "girl"]
        assert learned["evidence_count"] == 1

    def test_leaves_what_was_said_to_be_preferred_unless_asked(self, home: Home) -> None:
        _state(home, "tag", "ink")
        home.client.delete(f"{URL}/feedback")
        assert len(preferences(home)["stated"]) == 1
        home.client.delete(f"{URL}/feedback", params={"preferences": "true"})
        assert preferences(home)["stated"] == []


class TestPreferences:
    def test_said_twice_takes_the_new_confidence(self, home: Home) -> None:
        first = _state(home, "tag", "Ink", confidence=0.5)
        again = _state(home, "tag", "ink", confidence=0.9, explicit=False)
        assert again == {
            **first,
            "preference_value": "ink",
            "confidence": 0.9,
            "learned_from": "client",
            "updated_at": again["updated_at"],
        }
        assert preferences(home)["stated"] == [again]

    def test_tell_the_evidence_of_what_was_said(self, home: Home) -> None:
        alice = home.adapter("alice")["id"]
        home.client.patch(f"/v1/adapters/{alice}", json={"tags": ["Girl", "red"]})
        liked = give(home, shown(home, "alice"), "alice", "positive")
        stated = _state(home, "tag", "girl")
        assert stated["evidence_count"] == 1
        assert stated["last_evidence_at"] == liked["created_at"]
        assert _state(home, "author", "nobody")["evidence_count"] == 0

    def test_learned_ones_name_adapters_and_signs(self, home: Home) -> None:
        alice = home.adapter("alice")["id"]
        home.client.patch(f"/v1/adapters/{alice}", json={"tags": ["girl"]})
        for _ in range(3):
            _run(home, "alice")
        give(home, shown(home, "alice"), "alice", "positive")
        (learned,) = [p for p in preferences(home)["learned"] if p["preference_value"] == "girl"]
        assert learned["learned_from"] == "feedback"
        assert learned["score"] == pytest.approx((1 + 3 * 0.2) / (1 + 4), abs=1e-3)
        (evidence,) = learned["evidence"]
        assert evidence["signs"] == {"positive": 1, "used": 3}
        assert evidence["summary"] == "“alice”: liked, used in 3 generations"

    def test_can_be_taken_back_once(self, home: Home) -> None:
        address = f"{URL}/preferences/{_state(home, 'style', 'ink')['id']}"
        assert home.client.delete(address).status_code == 204
        assert home.client.delete(address).status_code == 404
        assert preferences(home)["stated"] == []

    @pytest.mark.parametrize(
        "body",
        [
            {"preference_type": "mood", "preference_value": "ink"},
            {"preference_type": "tag", "preference_value": "  "},
            {"preference_type": "tag", "preference_value": "ink", "confidence": 1.5},
            {"preference_type": "tag", "preference_value": "ink", "confidence": -0.1},
        ],
        ids=["unknown type", "blank", "too sure", "less than not sure"],
    )
    def test_that_mean_nothing_are_refused(self, home: Home, body: dict[str, Any]) -> None:
        assert home.client.post(f"{URL}/preferences", json=body).status_code == 422


class TestRemovedWithinAMinute:
    @pytest.mark.parametrize("way", ["routes", "bulk", "patch"])
    def test_is_logged_once(self, home: Home, way: str) -> None:
        alice = home.adapter("alice")["id"]
        for active in (True, True, False, False):
            if way == "routes":
                word = "activate" if active else "deactivate"
                home.client.post(f"/v1/adapters/{alice}/{word}")
            elif way == "bulk":
                word = "activate" if active else "deactivate"
                body = {"action": word, "lora_ids": [alice]}
                assert home.client.post("/v1/adapters/bulk", json=body).status_code == 200
            else:
                home.client.patch(f"/v1/adapters/{alice}", json={"active": active})
        (item,) = log(home)["items"]
        assert (item["feedback_type"], item["implicit_signal"]) == ("removed", True)
        assert (item["session_id"], item["recommended_lora_id"]) == (None, alice)

    def test_is_not_logged_later(self, home: Home) -> None:
        moments = iter([0.0, 60.5, 100.0, 160.0])
        watch = RemovalWatch(clock=lambda: next(moments))
        alice = home.adapter("alice")["id"]
        logged = []
        for active in (True, False, True, False):
            with home.application.database.write() as session:
                watch(session, [alice], active)
            logged.append(log(home)["total"])
        assert logged == [0, 0, 0, 1]


class TestSessions:
    def test_are_found_at_once_though_written_behind(self, home: Home) -> None:
        for _ in range(20):
            assert give(home, shown(home, "alice"), "alice", "ignored")["shown"] is True

    def test_are_thrown_away_when_old(self, make_home: Callable[..., Home]) -> None:
        """The next portion that is written after a start looks for old ones."""
        home = make_home()
        session_id = shown(home, "alice")
        record = give(home, session_id, "alice", "positive")
        with home.application.database.write() as session:
            row = find_session(session, session_id)
            assert row is not None
            row.created_at = "2020-01-01T00:00:00.000000Z"
        later = SessionLog(home.application.database)
        later.open("similar", None, "x", "lexical", [], 1.0)
        later.stop()
        assert log(home)["items"] == [{**record, "shown": None}]


def _state(home: Home, kind: str, value: str, **more: Any) -> dict[str, Any]:
    body = {"preference_type": kind, "preference_value": value, **more}
    answer = home.client.post(f"{URL}/preferences", json=body)
    assert answer.status_code == 200, answer.text
    record: dict[str, Any] = answer.json()
    return record


def _run(home: Home, name: str) -> None:
    with home.application.database.write() as session:
        RunWriter(session).add(Run(FROM_UI, 1, {name: 0.8}))
