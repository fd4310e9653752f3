"""Bringing only some paths up to date: what comes of it, and what is left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lora_manager_core.library.changes import look_at
from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.library.walk import walk_roots
from lora_manager_core.library.watching.tree import FolderTree
from tests.fakes.lora_files import touch_later, write_lora
from tests.fakes.running_job import FakeContext


@pytest.fixture
def bring_in(home):
    """`run_paths` with paths below the library; gives the counts that are not zero."""
    scan = home.application.services.get(LibraryScan)

    def _bring_in(*paths: str) -> dict[str, int]:
        report = scan.run_paths([home.library / path for path in paths], FakeContext())
        counted = ("added", "changed", "moved", "missing", "unchanged", "excluded")
        return {name: report[name] for name in counted if report[name]}

    return _bring_in


class TestFiles:
    def test_a_new_one_is_listed_and_no_other_looked_at(self, home, bring_in):
        write_lora(home.library / "characters" / "bob.safetensors")
        write_lora(home.library / "characters" / "unseen.safetensors")
        assert bring_in("characters/bob.safetensors") == {"added": 1}
        assert home.adapter("bob")["prompt_name"] == "bob"
        assert len(home.adapters()) == 4

    def test_a_replaced_one_is_read_again(self, home, bring_in):
        touch_later(write_lora(home.library / "characters/alice.safetensors", width=2048))
        assert bring_in("characters/alice.safetensors") == {"changed": 1}
        assert home.adapter("alice")["base_model"] == "SDXL"

    @pytest.mark.parametrize("name", ["alice.json", "alice.civitai.info", "alice.preview.png"])
    def test_a_side_file_concerns_its_model(self, home, bring_in, name):
        (home.library / "characters" / name).write_text(json.dumps({"description": "told"}))
        assert bring_in(f"characters/{name}") == {"changed": 1}
        (home.library / "characters" / name).unlink()
        assert bring_in(f"characters/{name}") == {"changed": 1}

    def test_one_that_is_gone_is_missing_and_comes_back(self, home, bring_in):
        path, away = home.library / "characters/alice.safetensors", home.library.parent / "away"
        path.rename(away)
        assert bring_in("characters/alice.safetensors") == {"missing": 1}
        assert home.adapter("alice")["file_state"] == "missing"
        away.rename(path)
        assert bring_in("characters/alice.safetensors") == {"changed": 1}
        assert home.adapter("alice")["file_state"] == "present"

    def test_a_moved_one_keeps_its_record_though_only_the_new_place_is_told(self, home, bring_in):
        alice = home.adapter("alice")
        Path(alice["file_path"]).rename(home.library / "styles" / "renamed.safetensors")
        assert bring_in("styles/renamed.safetensors") == {"moved": 1}
        moved = next(r for r in home.adapters() if r["id"] == alice["id"])
        assert (moved["prompt_name"], moved["file_state"]) == ("renamed", "present")

    def test_a_copy_is_another_record(self, home, bring_in):
        shutil.copy2(home.library / "characters/alice.safetensors", home.library / "b.safetensors")
        assert bring_in("b.safetensors") == {"added": 1}

    def test_one_that_a_person_took_out_stays_out(self, home, bring_in):
        home.client.delete(f"/v1/adapters/{home.adapter('alice')['id']}")
        assert bring_in("characters/alice.safetensors") == {"excluded": 1}

    def test_one_outside_the_roots_is_passed_over(self, home, bring_in):
        write_lora(home.library.parent / "outside.safetensors")
        assert bring_in("../outside.safetensors") == {}

    def test_nothing_that_changed_is_written(self, home, bring_in):
        before = home.adapters()
        assert bring_in("characters/alice.safetensors", "styles") == {"unchanged": 3}
        assert home.adapters() == before


class TestFolders:
    def test_a_new_one_is_listed_with_all_below_it(self, home, bring_in):
        write_lora(home.library / "more/deep/a.safetensors", seed=5)
        write_lora(home.library / "more/b.safetensors", seed=6)
        assert bring_in("more") == {"added": 2}
        assert home.adapter("a")["file_path"].endswith("a.safetensors")

    def test_one_that_is_gone_takes_all_its_files_along_but_no_namesake(self, home, bring_in):
        write_lora(home.library / "styles of mine/x.safetensors", seed=7)
        bring_in("styles of mine")
        shutil.rmtree(home.library / "styles")
        assert bring_in("styles") == {"missing": 2}
        assert home.adapter("x")["file_state"] == "present"

    def test_a_moved_one_keeps_its_records(self, home, bring_in):
        ids = {record["id"] for record in home.adapters()}
        (home.library / "styles").rename(home.library / "moved")
        assert bring_in("styles", "moved") == {"moved": 2}
        assert {record["id"] for record in home.adapters()} == ids

    def test_a_root_that_is_gone_leaves_its_records(self, home, bring_in):
        home.library.rename(home.library.parent / "unplugged")
        assert bring_in("", "styles", "characters/alice.safetensors") == {}
        assert {record["file_state"] for record in home.adapters()} == {"present"}

    @pytest.mark.parametrize("place", [".trash", "skipped", "skipped/deep"])
    def test_those_a_walk_passes_over_are_passed_over(self, tmp_path, place):
        path = write_lora(tmp_path / place / "x.safetensors")
        look = look_at([path, path.parent], [tmp_path], skip=[tmp_path / "skipped"])
        assert look.walked.files == []


class TestNames:
    def test_a_namesake_takes_the_name_in_prompts_and_gives_it_back(self, home, bring_in):
        write_lora(home.library / "other/ink_v2.safetensors", seed=9)
        assert bring_in("other") == {"added": 1}
        assert home.adapter("ink_v2")["prompt_name"] == "ink.v2"
        assert "Another file" in home.adapter("other/ink_v2")["prompt_name_problem"]
        assert home.adapter("alice")["prompt_name"] == "alice"
        shutil.rmtree(home.library / "other")
        assert bring_in("other") == {"missing": 1}
        assert home.adapter("ink_v2")["prompt_name"] == "ink_v2"


class TestSpelling:
    @pytest.mark.parametrize("way", ["plain", "up/../plain"])
    def test_files_are_spelled_as_a_walk_spells_them(self, tmp_path, way):
        write_lora(tmp_path / "plain" / "deep" / "x.safetensors")
        (tmp_path / "up").mkdir()
        root = tmp_path / way
        (walked,) = walk_roots([root]).files
        (looked,) = look_at([Path(walked.path)], [root]).walked.files
        tree = FolderTree([root])
        tree.sweep()
        assert (looked.path, looked.folder) == (walked.path, walked.folder)
        assert tree.spelled(str(tmp_path / "plain" / "deep" / "x.safetensors")) == walked.path
