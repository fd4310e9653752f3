"""Whatever a template's fields hold, the place is below the root on every system."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_manager_core.errors import Unprocessable
from lora_manager_core.library.files.names import why_unsafe
from lora_manager_core.library.files.template import FIELDS, PlaceTemplate

_nasty = st.sampled_from(
    (
        "..",
        ".",
        "CON",
        "nul.txt",
        "C:",
        "a/b",
        "..\\..",
        "\\\\server\\share",
        "x" * 400,
        "COM¹",
        "／",
    )
)
#: Few characters, each of another kind: a table of all of them takes seconds to make.
_texts = st.text(st.sampled_from('aÄ. /\\:*?"<>|\t\0\u202e\u200b\ud800／¹~'), max_size=30)
_values = st.dictionaries(st.sampled_from(FIELDS), st.none() | _nasty | _texts)
_parts = st.lists(st.sampled_from([f"{{{name}}}" for name in FIELDS]), min_size=1, max_size=3)
_templates = st.lists(_parts.map("-".join), min_size=1, max_size=4).map("/".join)


@given(_templates, _values)
def test_a_place_is_relative_and_safe_everywhere(
    template: str, values: dict[str, str | None]
) -> None:
    folder, name = PlaceTemplate(template).place(values, ".safetensors")
    path = f"{folder}/{name}" if folder else name
    assert why_unsafe(path) is None
    assert name.endswith(".safetensors")
    assert not any(part.startswith(".") for part in path.split("/"))
    for root in (PureWindowsPath("C:/loras"), PurePosixPath("/loras")):
        placed = root / path
        assert placed.is_relative_to(root)
        assert len(placed.parts) == len(root.parts) + len(path.split("/"))


def test_plain_values_stay_as_they_are() -> None:
    values = {"base_model": "SDXL 1.0", "name": "Ink v1.5", "tag": ""}
    placed = PlaceTemplate("{base_model}/{tag}/my {name}").place(values, ".pt")
    assert placed == ("SDXL 1.0/unknown", "my Ink v1.5.pt")


@pytest.mark.parametrize(
    "text",
    ["/{name}", "a//{name}", "../{name}", "{nothing}", "{name", "{name!r}", "{name:9}", "a\\b"],
)
def test_what_is_no_relative_path_of_known_fields_is_refused(text: str) -> None:
    with pytest.raises(Unprocessable):
        PlaceTemplate(text)
