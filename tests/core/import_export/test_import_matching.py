"""Which columns scans fill, and which of two records' fields differ for people."""

from __future__ import annotations

from lora_manager_core.import_export.imports.matching import (
    COMPARED,
    FOUND_BY_SCANS,
    differences,
    filled,
    merged,
)
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.walk import find_file
from tests.fakes.lora_files import write_lora
from tests.fakes.sample_archives import columns


def test_what_scans_fill_is_named(tmp_path):
    path = write_lora(tmp_path / "a.safetensors")
    from_file = columns_from_file(find_file(path, [tmp_path]))
    assert set(from_file) & set(COMPARED) == FOUND_BY_SCANS


class TestDifferences:
    def test_what_two_scans_read_is_none(self):
        assert differences(columns(rank=4), columns(rank=8), ()) == []

    def test_what_a_person_said_on_either_side_is_one(self):
        ours, theirs = columns(weight=0.5), columns(weight=0.7)
        assert differences(ours, theirs, ()) == []
        assert differences(ours, theirs, ("weight",)) == ["weight"]
        assert differences(ours, columns(weight=0.7, edited_fields=["weight"]), ()) == ["weight"]

    def test_what_scans_never_fill_always_is_one(self):
        assert differences(columns(favorite=True), columns(), ()) == ["favorite"]

    def test_what_is_left_out_is_none(self):
        assert differences(columns(favorite=True), {"name": "Ink portrait"}, ()) == []


class TestMerged:
    def test_what_a_person_set_here_stays(self):
        ours, theirs = columns(notes=None), columns(notes="there", edited_fields=["notes"])
        assert merged(ours, theirs, ("notes",)) == {}
        assert merged(ours, theirs, ())["notes"] == "there"

    def test_what_a_person_set_there_beats_a_scan(self):
        ours, theirs = columns(weight=1.0), columns(weight=0.5, edited_fields=["weight"])
        assert merged(ours, theirs, ()) == {"weight": 0.5, "edited_fields": ["weight"]}
        assert merged(ours, columns(weight=0.5, edited_fields=[]), ()) == {}

    def test_words_are_united_without_case(self):
        ours, theirs = columns(tags=["Ink", "b"]), columns(tags=["c", "INK"])
        assert merged(ours, theirs, ())["tags"] == ["Ink", "b", "c"]

    def test_a_base_model_comes_with_its_source(self):
        ours = columns(base_model=None, base_model_source=None)
        theirs = columns(base_model="SDXL", base_model_source="header", base_model_confidence=0.9)
        change = merged(ours, theirs, ())
        assert (change["base_model"], change["base_model_source"]) == ("SDXL", "header")
        assert change["base_model_confidence"] == 0.9

    def test_filled_takes_only_what_is_empty(self):
        ours, theirs = columns(rank=None, alpha=2.0), columns(rank=8, alpha=4.0, tags=["new"])
        assert filled(ours, theirs, ()) == {"rank": 8}
