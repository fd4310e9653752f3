"""What any JSON in any side file does to a record: nothing known is lost, nothing of a person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_manager_core.db.models import Adapter
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.ingest import merge_columns
from lora_manager_core.library.side_files import SOURCES
from lora_manager_core.library.walk import find_file
from tests.fakes.lora_files import write_lora

_KEYS = [
    "id", "modelId", "modelVersionId", "name", "model", "creator", "files", "hashes", "stats",
    "tags", "trainedWords", "description", "images", "nsfwLevel", "publishedAt", "modelVersions",
    "civitai", "base_model", "baseModel", "usage_tips", "favorite", "notes", "sha256", "title",
    "downloadUrl", "date", "trigger_phrase", "ModelId", "VersionId", "Tags", "Stats", "sources",
    "preferred weight", "activation text", "extra",
]  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["2024-01-01", "Pony", "https://a.example", "ab" * 32, '{"strength":1e999}']),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=4), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip
_KNOWN: dict[str, Any] = {
    "description": "d", "author_username": "a", "tags": ["t"], "trained_words": ["w"],
    "published_at": "2024-01-02T03:04:05.678000Z", "nsfw_level": 2, "activation_text": "x",
    "notes": "n", "negative_prompt": "np", "weight_min": 0.1, "weight_max": 0.9, "stats": {"a": 1},
    "extra": {"json": {"future": 1}}, "base_model": "Pony", "base_model_confidence": 0.9,
    "source_model_id": "1", "source_version_id": "2", "favorite": True, "preview_path": "p",
    "canonical_version_name": "c", "primary_file_download_url": "https://b.example",
    "primary_file_sha256": "cd" * 32, "weight": 0.7,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lora(tmp_path_factory.mktemp("side") / "hero.safetensors")


def news_of(model: Path, **files: str | bytes | None) -> dict[str, Any]:
    """The columns of the model with these side files beside it: `civitai__info="{}"`."""
    for ending, _ in (*SOURCES, (".txt", "txt")):
        (model.parent / f"hero{ending}").unlink(missing_ok=True)
    for ending, content in files.items():
        raw = content.encode() if isinstance(content, str) else content or b""
        name = "hero." + ending.replace("__", ".").replace("_", "-")
        (model.parent / name).write_bytes(raw)
    return columns_from_file(find_file(model, [model.parent]))


def record(news: dict[str, Any], **more: Any) -> Adapter:
    """A record of the model that knows everything."""
    columns = {name: value for name, value in news.items() if name != "stem"}
    named = {"name": "hero", "triggers": [], "edited_fields": []}
    return Adapter(**{**columns, **named, **_KNOWN, **more})


@pytest.mark.parametrize(("ending", "source"), SOURCES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=8) | _VALUES)
def test_no_json_loses_anything(model: Path, ending: str, source: str, document: Any) -> None:
    raw = json.dumps(document)
    news = news_of(model, **{ending[1:].replace(".", "__").replace("-", "_"): raw})
    edited = ["description", "tags", "notes"]
    stored = record(news, edited_fields=edited)

    change = merge_columns(stored, news)

    assert not set(change) & {*edited, "weight"}
    for name, known in _KNOWN.items():
        if known and name in change and name != "preview_path":
            assert change[name] not in (None, "", [], {}, False), name
    assert change.get("extra", {}).get("json") is not None or "extra" not in change
    assert b"\\u0000" not in orjson.dumps({**news, "neighbours": None})


class TestOverTime:
    RICH = json.dumps({"model": {"description": "rich", "name": "Hero"}, "trainedWords": ["w"]})

    def test_a_richer_file_that_breaks_leaves_what_it_said(self, model: Path) -> None:
        rich = news_of(model, civitai__info=self.RICH)
        assert rich["extra"]["sources"]["description"] == "civitai.info"
        stored = record(rich, description="rich", extra=rich["extra"])

        change = merge_columns(stored, news_of(model, civitai__info="{", txt="poor"))

        assert "description" not in change
        assert change["extra"]["sources"]["description"] == "civitai.info"
        assert "not valid JSON" in change["extra"]["side_file_problems"][0]

    def test_the_same_file_may_correct_itself(self, model: Path) -> None:
        rich = news_of(model, civitai__info=self.RICH)
        stored = record(rich, description="rich", extra=rich["extra"])
        change = merge_columns(
            stored, news_of(model, civitai__info=self.RICH.replace("ich", "are"))
        )
        assert change["description"] == "rare"

    def test_a_less_certain_base_model_does_not_count(self, model: Path) -> None:
        news = news_of(model)
        change = merge_columns(record(news, base_model_confidence=1.0), news)
        assert not set(change) & {"base_model", "base_model_source", "sd_version"}

    def test_a_preview_of_ours_stays_until_one_lies_beside_the_model(self, model: Path) -> None:
        stored = record(news_of(model), preview_path=str(model.parent.parent / "ours" / "1.png"))
        assert "preview_path" not in merge_columns(stored, news_of(model))
        beside = model.with_name("hero.preview.png")
        beside.write_bytes(b"png")
        try:
            change = merge_columns(stored, news_of(model))
        finally:
            beside.unlink()
        assert change["preview_path"] == str(beside)

    def test_what_people_put_into_extra_may_have_any_form(self, model: Path) -> None:
        news = news_of(model, txt="d")
        change = merge_columns(record(news, extra={"sources": [1], "mine": 2}), news)
        assert change["extra"]["mine"] == 2


def test_a_scan_survives_what_is_too_long_too_large_or_of_another_type(home) -> None:
    long = "ä" * 60_000
    texts = (
        "name",
        "description",
        "baseModel",
        "downloadUrl",
        "publishedAt",
        "notes",
        "base_model",
    )
    hostile = {
        "alice.civitai.info": {
            **dict.fromkeys(texts, long),
            "id": 2**70, "modelId": 2**59, "nsfwLevel": 10**6, "trainedWords": [long] * 3,
            "model": {"name": long, "tags": [f"{number}{long[:300]}" for number in range(2000)]},
            "creator": {"username": long}, "stats": {long: 1, "downloadCount": 10**400},
        },
        "ink.v2.metadata.json": {"usage_tips": '{"strength": 1e308}', "civitai": [[[]]]},
        "Zebra.json": {"notes": "a\0b", "\0": "\ud800", "preferred weight": "1e999"},
    }  # fmt: skip
    for path in home.library.rglob("*.safetensors"):
        for name, document in hostile.items():
            if name.startswith(path.stem):
                raw = json.dumps(document, ensure_ascii=name == "Zebra.json")
                (path.parent / name).write_text(raw, encoding="utf-8")

    report = home.scan()

    assert (report["changed"], report["unreadable"]) == (3, 0)
    alice = home.adapter("alice")
    assert (alice["source_model_id"], alice["source_version_id"]) == (str(2**59), None)
    assert (len(alice["description"]), len(alice["tags"])) == (50_000, 1000)
    assert home.adapter("Zebra")["notes"] == "ab"
    assert home.scan()["unchanged"] == 3
