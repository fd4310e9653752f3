"""SD.Next's naming rule outside SD.Next: the name given out resolves to that file and no other."""

import time
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from lora_manager_core.backends.prompt_names import sdnext_prompt_names

ROOT = PurePosixPath("/models/Lora")


def names(*files: str, root: PurePosixPath | None = ROOT) -> list[str | None]:
    paths = [PurePosixPath(file) for file in files]
    found = sdnext_prompt_names(paths, root)
    return [found[path].name for path in paths]


class TestOneFile:
    def test_is_called_by_its_base_name(self):
        assert names("/models/Lora/styles/ink.safetensors") == ["ink"]

    def test_dots_become_underscores(self):
        assert names("/models/Lora/garden.v2.safetensors") == ["garden_v2"]

    def test_needs_no_lora_folder(self):
        assert names("/anywhere/ink.safetensors", root=None) == ["ink"]

    def test_a_hidden_file_keeps_its_name(self):
        assert names("/models/Lora/.safetensors") == ["_safetensors"]

    def test_listed_twice_is_still_one_file(self):
        assert names("/models/Lora/ink.safetensors", "/models/Lora/ink.safetensors") == [
            "ink",
            "ink",
        ]


class TestFilesOfOneName:
    def test_are_told_apart_by_folder(self):
        assert names("/models/Lora/a/ink.safetensors", "/models/Lora/b/ink.safetensors") == [
            "a/ink",
            "b/ink",
        ]

    def test_the_folder_form_keeps_dots(self):
        assert names(
            "/models/Lora/v1.5/ink.2.safetensors", "/models/Lora/xl/ink.2.safetensors"
        ) == ["v1.5/ink.2", "xl/ink.2"]

    def test_in_the_root_only_the_other_one_has_a_name(self):
        paths = [ROOT / "ink.safetensors", ROOT / "b" / "ink.safetensors"]
        found = sdnext_prompt_names(paths, ROOT)
        assert found[paths[0]].name is None
        assert "Rename" in (found[paths[0]].problem or "")
        assert found[paths[1]].name == "b/ink"

    def test_a_dot_and_an_underscore_collide_and_the_plain_name_helps(self):
        assert names("/models/Lora/a.b.safetensors", "/models/Lora/a_b.safetensors") == [
            "a.b",
            None,
        ]

    def test_two_formats_of_one_file_collide(self):
        assert names("/models/Lora/ink.safetensors", "/models/Lora/ink.pt") == [None, None]

    def test_differing_in_case_do_not_collide(self):
        assert names("/models/Lora/Ink.safetensors", "/models/Lora/x/ink.safetensors") == [
            "Ink",
            "ink",
        ]

    def test_without_a_lora_folder_have_no_name(self):
        paths = [PurePosixPath("/a/ink.safetensors"), PurePosixPath("/b/ink.safetensors")]
        found = sdnext_prompt_names(paths, None)
        assert [found[path].name for path in paths] == [None, None]
        assert "not known" in (found[paths[0]].problem or "")


class TestNoName:
    @pytest.mark.parametrize("character", [":", "<", ">", "=", "\n"])
    def test_for_characters_a_token_cannot_hold(self, character: str):
        path = ROOT / f"a{character}b.safetensors"
        found = sdnext_prompt_names([path, ROOT / "fine.safetensors"], ROOT)
        assert found[path].name is None
        assert "Rename the file" in (found[path].problem or "")
        assert found[ROOT / "fine.safetensors"].name == "fine"

    def test_outside_the_lora_folder(self):
        path = PurePosixPath("/downloads/ink.safetensors")
        found = sdnext_prompt_names([path], ROOT)[path]
        assert found.name is None
        assert "outside" in (found.problem or "")

    def test_a_folder_with_a_longer_name_is_outside(self):
        assert names("/models/Lora-old/ink.safetensors") == [None]


class TestWindows:
    def test_folders_are_written_with_slashes(self):
        root = PureWindowsPath(r"D:\SD\models\Lora")
        paths = [root / "a" / "ink.safetensors", root / "b" / "ink.safetensors"]
        found = sdnext_prompt_names(paths, root)
        assert [found[path].name for path in paths] == ["a/ink", "b/ink"]

    def test_the_case_of_drive_and_folder_does_not_matter_that_of_the_name_does(self):
        root = PureWindowsPath(r"D:\SD\models\Lora")
        paths = [
            PureWindowsPath(r"d:\sd\models\lora\A\Ink.safetensors"),
            PureWindowsPath(r"D:\SD\models\Lora\b\ink.safetensors"),
        ]
        found = sdnext_prompt_names(paths, root)
        assert [found[path].name for path in paths] == ["Ink", "ink"]

    def test_network_shares(self):
        root = PureWindowsPath(r"\\nas\models\Lora")
        paths = [root / "a" / "ink.safetensors", root / "b" / "ink.safetensors"]
        found = sdnext_prompt_names(paths, root)
        assert found[paths[0]].name == "a/ink"


def test_ten_thousand_files_take_no_time_worth_speaking_of():
    files = [Path(f"/models/Lora/f{i % 50}/name.{i // 2}.safetensors") for i in range(10_000)]
    best_s = min(_seconds(files) for _ in range(5))
    assert best_s < 0.15  # about 0.02 s on a desktop; room for a busy machine


def _seconds(files: list[Path]) -> float:
    start = time.perf_counter()
    sdnext_prompt_names(files, Path("/models/Lora"))
    return time.perf_counter() - start
