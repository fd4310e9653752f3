"""Asking for recommendations over HTTP, and what is true of every answer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.conftest import Home

#: Each is the whole API.
PREFIXES = ("/v1", "/api/v1")


def ask(home: Home, prefix: str = "/v1", **request: Any) -> dict[str, Any]:
    """`POST for-prompt`."""
    answer = home.client.post(f"{prefix}/recommendations/for-prompt", json=request)
    assert answer.status_code == 200, answer.text
    return checked(answer.json())


def checked(answer: dict[str, Any]) -> dict[str, Any]:
    """The same; fails if a score is no number, or not the sum of its addends."""
    for item in answer["recommendations"]:
        total = sum(addend["value"] for addend in item["addends"])
        assert item["final_score"] == pytest.approx(total, abs=1e-5), item
        assert isinstance(item["similarity_score"], float), item
    return answer


def compute_all(home: Home) -> dict[str, Any]:
    """Embed the whole library; gives the report."""
    url = "/v1/recommendations/embeddings/compute"
    answer = home.client.post(url, json={"compute_all": True})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def names(answer: dict[str, Any]) -> list[str]:
    """The names in an answer, best first."""
    return [item["lora_name"] for item in answer["recommendations"]]
