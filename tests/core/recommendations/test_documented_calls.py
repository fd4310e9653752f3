"""Calls in docs/recommendations.md and README.md are answered, weights told there are true."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.recommendations.answers.weights import WEIGHTS
from tests.core.conftest import Home

_PROJECT = Path(__file__).parents[3]
_HOST = "http://127.0.0.1:7862"


def _calls(page: str) -> list[list[str]]:
    """The words of every `curl` of recommendations in a page, without `curl`."""
    text = (_PROJECT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in lines if line.startswith("curl ")]
    return [call[1:] for call in words if "recommendations" in " ".join(call)]


def _run(home: Home, call: list[str]) -> Any:
    method, body, headers, url = "", None, {}, ""
    rest = iter(call)
    for word in rest:
        if word == "-X":
            method = next(rest)
        elif word == "-d":
            body = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(": ")
            headers[name] = value
        else:
            assert word.startswith(_HOST), f"{word}: this test does not know it; teach it"
            url = word.removeprefix(_HOST)
    return home.client.request(
        method or ("POST" if body else "GET"), url, content=body, headers=headers
    )


@pytest.mark.parametrize("page", ["docs/recommendations.md", "README.md"])
def test_every_call_succeeds(home: Home, page: str) -> None:
    first, second = (home.adapter(name)["id"] for name in ("ink_v2", "alice"))
    asked = home.client.post("/v1/recommendations/for-prompt", json={"prompt": "ink"}).json()
    stand_for = {
        "OTHER_ADAPTER_ID": second,
        "ADAPTER_ID": first,
        "SESSION_ID": asked["session_id"],
    }
    calls = _calls(page)
    assert calls
    for call in calls:
        for word, meant in stand_for.items():
            call = [part.replace(word, meant) for part in call]
        answer = _run(home, call)
        assert answer.is_success, (call, answer.text)


def test_the_weights_of_the_addends_are_those_that_count() -> None:
    text = (_PROJECT / "docs" / "recommendations.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)`(?:, `\w+`)? \| (\d[\d.]*) \|", text, re.MULTILINE)
    assert len(told) == 9
    assert {name: float(value) for name, value in told} == {
        name: getattr(WEIGHTS, name) for name, _ in told
    }
