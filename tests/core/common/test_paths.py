"""Paths from outside, before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from lora_manager_core.common.paths import require_inside
from lora_manager_core.errors import UnsafePath


class TestRequireInside:
    def test_gives_a_path_in_one_of_the_roots(self, tmp_path: Path) -> None:
        inside = tmp_path / "a" / "b.safetensors"
        assert require_inside(str(inside), [tmp_path / "x", tmp_path / "a"], "The file") == inside

    @pytest.mark.parametrize(
        ("path", "says"),
        [
            pytest.param("{root}/a\0b", "NUL", id="NUL"),
            pytest.param("{root}/../b", "must lie inside", id="dot-dot"),
            pytest.param("b", "must lie inside", id="relative"),
        ],
    )
    def test_refuses_every_other(self, tmp_path: Path, path: str, says: str) -> None:
        with pytest.raises(UnsafePath, match=says):
            require_inside(path.format(root=tmp_path), [tmp_path], "The file")
