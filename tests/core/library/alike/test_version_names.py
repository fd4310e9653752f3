"""Versions as people write them into the names of files."""

from __future__ import annotations

import pytest

from lora_manager_core.library.alike.version_names import versioned_name


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("ink_style", "ink_style_v2"),
        ("InkStyle-v1", "inkstyle v1.5"),
        ("ink_style_v2", "ink-style-V10"),
        ("ink v2.1", "ink_v2_3"),
        ("inkV1", "ink v2"),
        ("ink (v1)", "ink version 2"),
        ("ink-000005", "ink-000010"),
        ("ink_e5", "ink_epoch12"),
        ("ink_v1_step500", "ink_v1_step1200"),
        ("ink_v1_e10", "ink_v1_final"),
    ],
)
def test_later_ones_are_greater(earlier: str, later: str) -> None:
    before, after = versioned_name(earlier), versioned_name(later)
    assert before is not None
    assert after is not None
    assert before.mark < after.mark
    assert before.key == after.key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("wan_dance_HIGH_v1", "wan_dance_LOW_v2"),
        ("ink_12", "ink_13"),
        ("evil_eve", "evil_eve2"),
        ("solo", "sole"),
    ],
)
def test_what_is_no_version_tells_models_apart(one: str, other: str) -> None:
    first, second = versioned_name(one), versioned_name(other)
    assert first is not None
    assert second is not None
    assert first.key != second.key


@pytest.mark.parametrize("name", ["v1", "e10", "a_v2", "123", ""])
def test_too_little_says_nothing(name: str) -> None:
    assert versioned_name(name) is None
