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
