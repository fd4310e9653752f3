"""What recommendations answer where something is wrong: an answer, or an error that helps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.core.conftest import Home
from tests.core.recommendations.asking import PREFIXES, ask, names
from tests.fakes.text_models import FakeEmbedder

_NOBODY = "00000000-0000-0000-0000-000000000000"

#: Prompts of every kind that people paste.
_PROMPTS = {
    "nothing but marks": ",,,, BREAK ,, ((())) [] :1.2",
    "nothing but quality words": "masterpiece, best quality, 8k, 1girl",
    "nothing but tokens": "<lora:alice:0.8> <lora:nobody:1>",
    "100 kB of one word": "ink " * 25_000,
    "100 kB of words": ",".join(f"word{n}" for n in range(11_000)),
    "one word of 100 kB": "x" * 100_000,
    "100 kB of brackets": "(" * 50_000 + ")" * 50_000,
    "Japanese": "水墨画、墨で描かれた狐",
    "Cyrillic": "рисунок тушью, лиса",
    "Arabic": "رسم بالحبر لثعلب",
    "Thai": "ภาพวาดหมึกของสุนัขจิ้งจอก",
    "Devanagari": "स्याही से बना चित्र",
    "emoji": "🦊🖋️✨👩‍👩‍👧",
    "marks and invisible": "i\u0308\u0323\u0301nk" * 200 + "\u202e\ufeff\u200b",
    "query languages": "100% _ink_ \\ ' \" ; DROP TABLE adapters; -- * NEAR(",
}


@pytest.mark.parametrize("prefix", PREFIXES)
class TestAnEmptyLibrary:
    @pytest.fixture
    def home(self, make_home: Callable[..., Home], tmp_path: Path) -> Home:
        (tmp_path / "nothing").mkdir()
        return make_home(FakeEmbedder(), library_roots=(tmp_path / "nothing",))

    def test_has_nothing_to_recommend_and_says_why(self, home: Home, prefix: str) -> None:
        answer = ask(home, prefix, prompt="a fox in ink")
        assert (answer["recommendations"], answer["total_candidates"]) == ([], 0)
        assert answer["hint"]
        asked = home.client.get(
            f"{prefix}/recommendations/by-trigger", params={"trigger_query": "ink"}
        )
        assert (asked.status_code, asked.json()["recommendations"]) == (200, [])

    def test_makes_no_set(self, home: Home, prefix: str) -> None:
        answer = home.client.post(f"{prefix}/recommendations/compose", json={"prompt": "a fox"})
        assert answer.status_code == 200, answer.text

    @pytest.mark.parametrize("path", ["stats", "health", "preferences", "feedback"])
    def test_is_told_in_true_figures(self, home: Home, prefix: str, path: str) -> None:
        answer = home.client.get(f"{prefix}/recommendations/{path}")
        assert answer.status_code == 200, answer.text

    def test_can_be_embedded_and_indexed_at_once(self, home: Home, prefix: str) -> None:
        done = home.client.post(
            f"{prefix}/recommendations/embeddings/compute", json={"compute_all": True}
        )
        assert (done.status_code, done.json()["processed_count"]) == (200, 0), done.text
        assert home.client.post(f"{prefix}/recommendations/index/rebuild").status_code == 200


class TestPrompts:
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_of_any_kind_are_answered(self, home: Home, prefix: str) -> None:
        for kind, prompt in _PROMPTS.items():
            answer = ask(home, prefix, prompt=prompt)
            assert answer["generated_at"], kind

    def test_of_any_kind_can_be_composed_from(self, home: Home) -> None:
        for kind, prompt in _PROMPTS.items():
            answer = home.client.post("/v1/recommendations/compose", json={"prompt": prompt})
            assert answer.status_code == 200, (kind, answer.text)

    @pytest.mark.parametrize("prompt", ["", " \n\t "], ids=["empty", "blank"])
    def test_that_are_empty_are_refused(self, home: Home, prompt: str) -> None:
        for path in ("for-prompt", "compose"):
            answer = home.client.post(f"/v1/recommendations/{path}", json={"prompt": prompt})
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
            assert "empty" in answer.json()["detail"]

    def test_without_any_word_find_nothing_and_say_so(self, home: Home) -> None:
        answer = ask(home, prompt="(((,)))")
        assert answer["recommendations"] == []
        assert "no words" in answer["hint"]

    def test_as_trigger_words_are_answered(self, home: Home) -> None:
        for query in (",", "%", "_", "ink*", "x" * 1000, "墨", "🦊", 'a"b'):
            answer = home.client.get(
                "/v1/recommendations/by-trigger", params={"trigger_query": query}
            )
            assert answer.status_code == 200, (query, answer.text)


#: Calls that name something; `?` stands for its id.
_NAMING: list[tuple[str, str, Any]] = [
    ("GET", "similar/?", None),
    ("GET", "embeddings/?", None),
    ("POST", "embeddings/compute", {"adapter_ids": ["?"]}),
    ("POST", "compatibility", {"adapter_ids": ["?", "?"]}),
    ("DELETE", "feedback/?", None),
    ("DELETE", "preferences/?", None),
    (
        "POST",
        "feedback",
        {"session_id": "?", "recommended_lora_id": "?", "feedback_type": "positive"},
    ),
]


class TestUnknownIds:
    @pytest.mark.parametrize("prefix", PREFIXES)
    @pytest.mark.parametrize("unknown", [_NOBODY, "nobody", "🦊"])
    def test_are_named(self, home: Home, prefix: str, unknown: str) -> None:
        for method, path, body in _NAMING:
            url = f"{prefix}/recommendations/{path.replace('?', quote(unknown))}"
            sent = body and json.loads(json.dumps(body).replace("?", unknown))
            answer = home.client.request(method, url, json=sent)
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert unknown in str(answer.json()), (method, path)

    def test_of_an_adapter_in_feedback_on_a_true_answer_are_named(self, home: Home) -> None:
        feedback = {
            "session_id": ask(home, prompt="ink")["session_id"],
            "recommended_lora_id": _NOBODY,
            "feedback_type": "positive",
        }
        answer = home.client.post("/v1/recommendations/feedback", json=feedback)
        assert (answer.status_code, answer.json()["code"]) == (404, "adapter_not_found")
        assert _NOBODY in answer.json()["detail"]

    def test_of_what_is_in_use_do_no_harm(self, home: Home) -> None:
        assert names(ask(home, prompt="alice", active_loras=[_NOBODY]))[:1] == ["alice"]


#: Path, and a body that is refused.
_BODIES = {
    "no prompt": ("for-prompt", "{}"),
    "null": ("for-prompt", '{"prompt": null}'),
    "number for text": ("for-prompt", '{"prompt": 5}'),
    "list for text": ("for-prompt", '{"prompt": ["a"]}'),
    "NUL": ("for-prompt", '{"prompt": "a\\u0000b"}'),
    "limit 0": ("for-prompt", '{"prompt": "a", "limit": 0}'),
    "limit 51": ("for-prompt", '{"prompt": "a", "limit": 51}'),
    "limit NaN": ("for-prompt", '{"prompt": "a", "limit": NaN}'),
    "unknown field": ("for-prompt", '{"prompt": "a", "unknown": 1}'),
    "no list": ("for-prompt", '{"prompt": "a", "active_loras": "x"}'),
    "infinite size": (
        "for-prompt",
        '{"prompt": "a", "technical_requirements": {"max_file_size_mb": Infinity}}',
    ),
    "prompt of 300 kB": ("for-prompt", json.dumps({"prompt": "x" * 300_000})),
    "no JSON": ("for-prompt", "{"),
    "no body": ("for-prompt", ""),
    "compose without a prompt": ("compose", "{}"),
    "number for ids": ("compatibility", '{"adapter_ids": 5}'),
    "negative batch": ("embeddings/compute", '{"compute_all": true, "batch_size": -1}'),
    "number for an id": ("embeddings/compute", '{"adapter_ids": [5]}'),
    "half a feedback": ("feedback", '{"session_id": "a"}'),
    "unknown feedback": (
        "feedback",
        '{"session_id": "a", "recommended_lora_id": "b", "feedback_type": "love"}',
    ),
    "infinite confidence": (
        "preferences",
        '{"preference_type": "tag", "preference_value": "ink", "confidence": 1e999}',
    ),
    "blank preference": ("preferences", '{"preference_type": "tag", "preference_value": "  "}'),
}
_QUERIES = (
    "limit=0",
    "limit=51",
    "limit=many",
    "similarity_threshold=2",
    "similarity_threshold=nan",
    "weight_semantic=-1",
    "weight_semantic=inf",
    "weight_technical=nan",
)


class TestBodies:
    """Nothing that is mistyped, unbounded or not finite gets further than its schema."""

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_are_refused_with_what_is_wrong(self, home: Home, prefix: str) -> None:
        for mistake, (path, body) in _BODIES.items():
            answer = home.client.post(
                f"{prefix}/recommendations/{path}",
                content=body,
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 422, (mistake, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["errors"], mistake

    def test_in_a_query_too(self, home: Home) -> None:
        target = home.adapter("alice")["id"]
        for query in _QUERIES:
            answer = home.client.get(f"/v1/recommendations/similar/{target}?{query}")
            assert answer.status_code == 422, (query, answer.text)
            assert answer.json()["errors"], query

    @pytest.mark.parametrize(
        "path",
        [
            "by-trigger?trigger_query=",
            "by-trigger?trigger_query=%20",
            "similar/?&weight_semantic=0&weight_artistic=0&weight_technical=0",
        ],
    )
    def test_that_ask_for_nothing_are_refused(self, home: Home, path: str) -> None:
        target = home.adapter("alice")["id"]
        url = path.replace("similar/?&", f"similar/{target}?")
        answer = home.client.get(f"/v1/recommendations/{url}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text


class TestStrangers:
    @pytest.fixture
    def home(self, make_home: Callable[..., Home]) -> Home:
        return make_home(api_key="a-long-enough-key")

    def test_are_refused_by_every_route_and_a_key_opens_each(self, home: Home) -> None:
        described = home.client.get("/v1/openapi.json").json()["paths"]
        routes = [
            (method, path.replace("{", "").replace("}", ""))
            for path, operations in described.items()
            if path.startswith("/recommendations/")
            for method in operations
        ]
        assert len(routes) >= 15, routes
        for prefix in PREFIXES:
            for method, path in routes:
                refused = home.client.request(method, prefix + path)
                assert refused.status_code == 401, (method, path, refused.text)
                headers = {"X-API-Key": "a-long-enough-key"}
                let_in = home.client.request(method, prefix + path, headers=headers)
                # Without body and with words for ids: not found, not valid, or an answer.
                assert let_in.status_code in (200, 202, 204, 400, 404, 422), (method, path)
