"""Waiting until files are complete, with a clock and files that are only told."""

from __future__ import annotations

import pytest

from lora_manager_core.library.watching.names import is_temporary, may_concern
from lora_manager_core.library.watching.settling import Mark, Settling


class _Files:
    """Sizes by path, and how often each was looked at."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.looks = 0

    def mark(self, path: str) -> Mark:
        self.looks += 1
        size = self.sizes.get(path)
        return None if size is None else (size,)


@pytest.fixture
def files():
    return _Files()


@pytest.fixture
def settling(files):
    return Settling(files.mark, quiet_s=1.0)


class TestSettling:
    def test_a_file_is_due_once_it_was_quiet_and_then_no_more(self, settling, files):
        files.sizes["a"] = 5
        settling.note(["a"], 10.0)
        assert settling.take_due(10.9) == []
        assert settling.take_due(11.0) == ["a"]
        assert settling.take_due(20.0) == []

    def test_one_that_grows_unnoticed_is_waited_for(self, settling, files):
        files.sizes["a"] = 5
        settling.note(["a"], 10.0)
        files.sizes["a"] = 6
        assert settling.take_due(11.0) == []
        assert settling.take_due(11.9) == []
        assert settling.take_due(12.0) == ["a"]

    def test_each_change_begins_the_wait_anew(self, settling, files):
        files.sizes["a"] = 5
        settling.note(["a"], 10.0)
        settling.note(["a"], 10.9)
        assert settling.take_due(11.5) == []
        assert settling.take_due(11.9) == ["a"]

    def test_what_is_gone_is_due_too(self, settling):
        settling.note(["gone"], 10.0)
        assert settling.take_due(11.0) == ["gone"]

    def test_thousands_that_wait_are_not_looked_at_in_between(self, settling, files):
        settling.note((str(number) for number in range(1000)), 10.0)
        for tenth in range(1, 10):
            settling.take_due(10.0 + tenth / 10)
        assert (files.looks, len(settling)) == (1000, 1000)


class TestNames:
    @pytest.mark.parametrize(
        "name", ["a.safetensors.part", "a.safetensors.crdownload", "A.TMP", "a.aria2", "a.json~"]
    )
    def test_what_is_still_written_under_another_name_concerns_nobody(self, name):
        assert is_temporary(name)
        assert not may_concern(name)

    @pytest.mark.parametrize(
        "name", ["a.safetensors", "A.PT", "a.civitai.info", "a.txt", "a.preview.webp"]
    )
    def test_models_and_what_lies_beside_them_do(self, tmp_path, name):
        path = tmp_path / name
        path.touch()
        assert may_concern(str(path))

    def test_another_file_does_not_but_a_folder_or_what_is_gone_may(self, tmp_path):
        (tmp_path / "notes.doc").touch()
        (tmp_path / "folder.doc").mkdir()
        assert not may_concern(str(tmp_path / "notes.doc"))
        assert may_concern(str(tmp_path / "folder.doc"))
        assert may_concern(str(tmp_path / "gone.doc"))
