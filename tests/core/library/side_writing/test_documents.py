"""Records as side files of others: read back by our own reader they say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_manager_core.db.models import Adapter
from lora_manager_core.library.base_model import normalise_label
from lora_manager_core.library.side_files import SideFacts, read_side_files
from lora_manager_core.library.side_writing.documents import FORMATS

_RECORD: dict[str, Any] = {
    "name": "hero", "canonical_version_name": "Hero – v2", "description": "A <b> & c\n\nnext",
    "author_username": "somebody", "tags": ["a", "b"], "trained_words": ["w"], "nsfw_level": 4,
    "base_model": "Pony", "published_at": "2024-01-02T03:04:05.678000Z", "activation_text": "act",
    "weight": 0.7, "negative_prompt": "neg", "notes": "n", "stats": {"downloadCount": 5},
    "primary_file_download_url": "https://civitai.example/22", "primary_file_sha256": "ab" * 32,
    "source_model_id": "11", "source_version_id": "22", "favorite": True, "weight_min": 0.1,
    "weight_max": 0.9, "weight_te": 0.5, "extra": {"title": "Hero"}, "edited_fields": [],
    "file_path": "/models/hero.safetensors", "file_size": 2048, "file_mtime_ns": 10**18,
}  # fmt: skip
#: Field of `SideFacts` → what the record says; those every format has, and those of each.
_ALL = {"description": "A <b> & c\n\nnext", "base_model": "Pony", "model_id": 11, "version_id": 22}
_CIVITAI = {
    "name": "Hero", "version_name": "v2", "author_username": "somebody", "tags": ("a", "b"),
    "trained_words": ("w",), "nsfw_level": 4, "published_at": "2024-01-02T03:04:05.678000Z",
    "stats": {"downloadCount": 5}, "download_url": "https://civitai.example/22",
}  # fmt: skip
_TOLD = {
    "civitai.info": {**_ALL, **_CIVITAI, "sha256": "ab" * 32},
    "json": {
        **_ALL, "activation_text": "act", "preferred_weight": 0.7, "negative_prompt": "neg",
        "notes": "n", "sha256": "ab" * 32,
    },
    "metadata.json": {
        **_ALL, **_CIVITAI, "sha256": "ab" * 32, "favorite": True, "notes": "n",
        "preferred_weight": 0.7, "weight_min": 0.1, "weight_max": 0.9, "weight_te": 0.5,
    },
}  # fmt: skip


def record(**more: Any) -> Adapter:
    return Adapter(**{**_RECORD, **more})


def read_back(folder: Path, kind: str, document: Any) -> SideFacts:
    ending, _ = FORMATS[kind]
    for path in folder.iterdir():
        path.unlink()
    (folder / f"hero{ending}").write_bytes(orjson.dumps(document))
    return read_side_files(str(folder), "hero", {f"hero{ending}": f"hero{ending}"})


@pytest.mark.parametrize("kind", FORMATS)
class TestRoundTrip:
    def test_says_the_same(self, kind: str, tmp_path: Path) -> None:
        facts = read_back(tmp_path, kind, FORMATS[kind][1](record(), None, None))
        assert {name: getattr(facts, name) for name in _TOLD[kind]} == _TOLD[kind]
        assert normalise_label(facts.base_model or "") == "Pony"
        assert facts.problems == ()

    def test_fields_of_others_stay_and_so_does_what_they_said(self, kind: str) -> None:
        _, document_of = FORMATS[kind]
        theirs = {"future": {"a": [1]}, "notes": "theirs", "baseModel": "SDXL 1.0",
                  "sd version": "SDXL", "base_model": "SDXL 1.0"}  # fmt: skip
        document = document_of(record(), theirs, None)
        assert {name: document[name] for name in theirs} == theirs
        assert document_of(record(), document, None) == document

    def test_what_a_person_set_here_counts_more(self, kind: str) -> None:
        ours = record(edited_fields=["base_model", "notes"], notes=None)
        theirs = {"baseModel": "SDXL 1.0", "sd version": "SDXL", "base_model": "SDXL", "notes": "x"}
        document = FORMATS[kind][1](ours, dict(theirs), None)
        named = {"civitai.info": "baseModel", "json": "sd version", "metadata.json": "base_model"}
        assert document[named[kind]] == "Pony"
        assert document["notes"] == ("x" if kind == "civitai.info" else "")

    def test_a_record_that_knows_nothing(self, kind: str, tmp_path: Path) -> None:
        nothing = {
            name: [] if isinstance(value, list) else None
            for name, value in _RECORD.items()
            if not name.startswith("file_")
        }
        empty = record(**{**nothing, "name": "hero", "weight": 1.0, "nsfw_level": 0,
                          "favorite": False})  # fmt: skip
        facts = read_back(tmp_path, kind, FORMATS[kind][1](empty, None, None))
        assert facts.name in (None, "hero")
        assert (facts.description, facts.tags, facts.notes) == (None, (), None)
        assert facts.nsfw_level == 0

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(text=st.text("<>&;/ \nabr=\"'lt", max_size=30))
    def test_any_description_survives(self, kind: str, tmp_path: Path, text: str) -> None:
        plain = "\n\n".join(text.split("\n\n")).strip()
        told = FORMATS[kind][1](record(description=plain or None), None, None)
        first = read_back(tmp_path, kind, told).description
        again = FORMATS[kind][1](record(description=first), None, None)
        assert read_back(tmp_path, kind, again).description == first
        assert "".join((first or "").split()) == "".join(plain.split())


def test_an_answer_of_civitai_is_written_whole() -> None:
    answer = {"id": 22, "images": [{"url": "u"}], "baseModel": "Pony", "model": {"name": "Hero"}}
    document = FORMATS["civitai.info"][1](record(), None, answer)
    assert (document["images"], document["model"]["tags"]) == ([{"url": "u"}], ["a", "b"])
