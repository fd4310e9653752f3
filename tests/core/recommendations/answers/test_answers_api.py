"""The routes of answers, over a whole application."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.conftest import Home
from tests.fakes.embedded_adapters import edit_adapter


def _post(home: Home, path: str, **body: Any) -> dict[str, Any]:
    answer = home.client.post(f"/v1/recommendations/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def _get(home: Home, path: str, **query: Any) -> dict[str, Any]:
    answer = home.client.get(f"/v1/recommendations/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class TestForPrompt:
    def test_an_edit_is_in_the_next_answer(self, home: Home) -> None:
        alice = home.adapter("alice")["id"]
        edit_adapter(home.application.database, alice, description="a violet dragon")

        answer = _post(home, "for-prompt", prompt="violet dragon")

        assert answer["recommendations"][0]["lora_id"] == alice
        assert answer["session_id"]
        assert answer["prompt"] == "violet dragon"

        changed = home.client.patch(f"/v1/adapters/{alice}", json={"description": "a green frog"})
        assert changed.status_code == 200, changed.text
        answer = _post(home, "for-prompt", prompt="green frog")
        assert answer["recommendations"][0]["lora_id"] == alice

        assert home.client.delete(f"/v1/adapters/{alice}").status_code == 204
        answer = _post(home, "for-prompt", prompt="green frog")
        assert alice not in {item["lora_id"] for item in answer["recommendations"]}

    def test_feedback_on_an_answer_is_taken(self, home: Home) -> None:
        alice = home.adapter("alice")["id"]
        edit_adapter(home.application.database, alice, description="a violet dragon")
        answer = _post(home, "for-prompt", prompt="violet dragon")

        given = home.client.post(
            "/v1/recommendations/feedback",
            json={
                "session_id": answer["session_id"],
                "recommended_lora_id": alice,
                "feedback_type": "positive",
            },
        )

        assert given.status_code == 200, given.text
        item = _post(home, "for-prompt", prompt="violet dragon")["recommendations"][0]
        assert item["quality_boost"] > 0
        assert item["because"][0]["lora_id"] == alice
        assert sum(a["value"] for a in item["addends"]) == pytest.approx(item["final_score"])

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            pytest.param({"prompt": " "}, 400, id="empty"),
            pytest.param({}, 422, id="none"),
            pytest.param({"prompt": "x" * 200_001}, 422, id="endless"),
            pytest.param({"prompt": "x", "limit": 51}, 422, id="too-many"),
            pytest.param({"prompt": "x", "mood": "blue"}, 422, id="unknown-field"),
        ],
    )
    def test_bad_input(self, home: Home, body: dict[str, Any], status: int) -> None:
        answer = home.client.post("/v1/recommendations/for-prompt", json=body)

        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"

    def test_infinity(self, home: Home) -> None:
        answer = home.client.post(
            "/v1/recommendations/for-prompt",
            content='{"prompt": "x", "technical_requirements": {"max_file_size_mb": 1e999}}',
            headers={"content-type": "application/json"},
        )

        assert answer.status_code == 422


class TestSimilar:
    def test_of_what_a_scan_found(self, home: Home) -> None:
        answer = _get(home, f"similar/{home.adapter('alice')['id']}", limit=5)

        assert {item["lora_name"] for item in answer["recommendations"]} <= {"ink_v2", "Zebra"}

    def test_an_unknown_id(self, home: Home) -> None:
        answer = home.client.get("/v1/recommendations/similar/nobody")

        assert answer.status_code == 404
        assert answer.json()["unknown_ids"] == ["nobody"]

    @pytest.mark.parametrize(
        "query",
        [{"weight_semantic": "inf"}, {"similarity_threshold": "nan"}, {"limit": "0"}],
        ids=str,
    )
    def test_bad_numbers(self, home: Home, query: dict[str, str]) -> None:
        alice = home.adapter("alice")["id"]

        answer = home.client.get(f"/v1/recommendations/similar/{alice}", params=query)

        assert answer.status_code == 422


class TestByTrigger:
    def test_finds_it(self, home: Home) -> None:
        alice = home.adapter("alice")["id"]
        edit_adapter(home.application.database, alice, triggers=["violet dragon"])

        answer = _get(home, "by-trigger", trigger_query="violet")

        assert [item["lora_id"] for item in answer["recommendations"]] == [alice]

    def test_without_a_query(self, home: Home) -> None:
        assert home.client.get("/v1/recommendations/by-trigger").status_code == 422
        empty = home.client.get("/v1/recommendations/by-trigger", params={"trigger_query": " "})
        assert empty.status_code == 400


class TestStatus:
    def test_stats_are_measured(self, home: Home) -> None:
        before = _get(home, "stats")
        assert before["avg_recommendation_time_ms"] is None
        assert before["answers"] == {}
        assert before["total_loras"] == 3

        answer = _post(home, "for-prompt", prompt="dragon")

        after = _get(home, "stats")
        assert after["avg_recommendation_time_ms"] == answer["processing_time_ms"]
        assert after["answers"]["for_prompt"]["count"] == 1

    def test_the_index_needs_no_rebuilding(self, home: Home) -> None:
        _post(home, "for-prompt", prompt="dragon")

        skipped = _post(home, "index/rebuild")
        assert (skipped["status"], skipped["indexed_items"]) in {("skipped", 3), ("rebuilt", 3)}
        forced = home.client.post("/v1/recommendations/index/rebuild", params={"force": True})
        assert forced.json()["status"] == "rebuilt"
        assert "nobody has to" in forced.json()["message"]

    def test_health_says_why(self, home: Home) -> None:
        health = _get(home, "health")

        assert health["status"] in ("healthy", "degraded")
        assert (health["status"] == "degraded") == bool(health["reasons"])
        assert set(health["extras"]) == {"semantic", "faiss"}
