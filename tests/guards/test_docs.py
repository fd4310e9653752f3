"""The generated pages say what the code says; commands and files that pages name exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from lora_manager_core.cli import main

_PROJECT = Path(__file__).parents[2]
_PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/archives.md",
    "docs/recommendations.md",
    "docs/workers.md",
]


def _pages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("build_docs", _PROJECT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_generated_pages_are_current():
    stale = [
        name
        for name, text in _pages().items()
        if (_PROJECT / "docs" / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, f"run `python docs/build.py` and commit {', '.join(stale)}"


@pytest.mark.parametrize("page", _PAGES)
def test_commands_of_our_own_are_accepted(page, capsys):
    text = (_PROJECT / page).read_text(encoding="utf-8")
    commands = set(re.findall(r"^\s*(?:\.venv/bin/)?lora-manager (\w+)", text, re.MULTILINE))
    for command in commands:
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0, command
    capsys.readouterr()


@pytest.mark.parametrize("page", _PAGES)
def test_files_that_are_named_exist(page):
    text = (_PROJECT / page).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert [name for name in linked if not ((_PROJECT / page).parent / name).exists()] == []
