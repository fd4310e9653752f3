"""What a request may carry, on either database."""

from __future__ import annotations

import pytest


class TestNul:
    @pytest.mark.parametrize("path", ["adapters/%00", "deliveries/a%00b", "generation/jobs/%00"])
    def test_in_a_path_finds_nothing(self, home, path):
        answer = home.client.get(f"/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    @pytest.mark.parametrize("path", ["adapters?search=a%00b", "deliveries?mode=%00"])
    def test_in_a_query_is_refused(self, home, path):
        answer = home.client.get(f"/v1/{path}")
        assert (answer.status_code, answer.json()["code"]) == (422, "validation")

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param({"notes": "a\0b"}, id="text"),
            pytest.param({"tags": ["x", "a\0b"]}, id="in-a-list"),
            pytest.param({"trigger_groups": [{"name": "a\0b"}]}, id="deep-inside"),
        ],
    )
    def test_in_a_body_is_refused(self, home, body):
        adapter = home.adapter("alice")["id"]
        answer = home.client.patch(f"/v1/adapters/{adapter}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation")
        assert any("NUL" in error["msg"] for error in answer.json()["errors"])
