"""The queries that recommendations are measured by: of five kinds, and of concepts that exist."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

_DATA = Path(__file__).parents[2] / "benchmarks" / "data"
_KINDS = ("paraphrase", "keyword", "typo", "two_concepts", "trigger")


def _lines(name: str) -> list[dict[str, Any]]:
    text = (_DATA / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


CONCEPTS = {concept["id"]: concept for concept in _lines("concepts.jsonl")}
QUERIES = _lines("queries.jsonl")


def _words(text: str) -> str:
    words = re.findall(r"[^\W_]+", text.casefold())
    return f" {' '.join(words)} "


def test_there_are_enough_of_each_kind() -> None:
    counts = Counter(query["kind"] for query in QUERIES)
    assert set(counts) == set(_KINDS)
    assert min(counts.values()) >= 60
    assert len(QUERIES) >= 330


@pytest.mark.parametrize("key", ["id", "query"])
def test_none_is_there_twice(key: str) -> None:
    assert [value for value, n in Counter(q[key] for q in QUERIES).items() if n > 1] == []


def test_every_concept_that_is_relevant_exists() -> None:
    assert {name for query in QUERIES for name in query["relevant"]} <= set(CONCEPTS)


def test_every_concept_is_asked_for() -> None:
    assert set(CONCEPTS) <= {name for query in QUERIES for name in query["relevant"]}


def test_as_many_are_meant_exactly_as_the_kind_says() -> None:
    for query in QUERIES:
        grades = Counter(query["relevant"].values())
        assert set(grades) <= {1, 2}, query
        assert grades[2] == (2 if query["kind"] == "two_concepts" else 1), query


def test_what_asks_by_trigger_has_the_trigger_in_it() -> None:
    for query in QUERIES:
        if query["kind"] == "trigger":
            (concept,) = query["relevant"]
            assert _words(CONCEPTS[concept]["trigger"]) in _words(query["query"]), query
