"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import time

import pytest

from lora_manager_core.common.files import remove_files, remove_leftovers, write_whole


class TestWriteWhole:
    def test_makes_folders_and_leaves_nothing_unfinished(self, tmp_path):
        write_whole(tmp_path / "a" / "b.bin", b"content", tmp_path / "parts")
        assert (tmp_path / "a" / "b.bin").read_bytes() == b"content"
        assert list((tmp_path / "parts").iterdir()) == []

    def test_keeps_what_was_there_when_it_cannot_finish(self, tmp_path):
        target = tmp_path / "folder"
        target.mkdir()
        (target / "kept").touch()
        with pytest.raises(OSError, match="folder"):
            write_whole(target, b"content", tmp_path / "parts")
        assert (target / "kept").exists()
        assert list((tmp_path / "parts").iterdir()) == []


class TestRemoveLeftovers:
    def test_removes_what_is_old_and_nothing_else(self, tmp_path):
        parts = tmp_path / "parts"
        hours = {"old.part": 2, "new.part": 0, "old-folder": 25, "folder": 2}
        parts.mkdir()
        for name in hours:
            if name.endswith("folder"):
                (parts / name).mkdir()
                (parts / name / "1.png").touch()
            else:
                (parts / name).touch()
        for name, age in hours.items():
            then = time.time() - age * 3600
            os.utime(parts / name, (then, then))
        remove_leftovers(parts)
        assert sorted(path.name for path in parts.iterdir()) == ["folder", "new.part"]

    def test_a_folder_that_is_not_there_is_clean(self, tmp_path):
        remove_leftovers(tmp_path / "nowhere")
        assert list(tmp_path.iterdir()) == []


class TestRemoveFiles:
    def test_tells_what_could_not_be_deleted(self, tmp_path):
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()  # stands for a file that is open on Windows
        paths = [tmp_path / name for name in ("file", "gone", "folder")]
        assert remove_files(paths) == [tmp_path / "folder"]
        assert not (tmp_path / "file").exists()
