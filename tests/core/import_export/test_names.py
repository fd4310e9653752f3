"""Names from archives: what is refused on every system, and what any name is turned into."""

from __future__ import annotations

from pathlib import PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.names import check_member_name
from lora_manager_core.library.files.names import safe_file_name, safe_folder

UNSAFE = {
    "empty": "",
    "root": "/",
    "parent": "../x.safetensors",
    "parent inside": "a/../../x",
    "parent at the end": "a/..",
    "here": "./x",
    "absolute": "/etc/passwd",
    "two slashes": "//server/share/x",
    "empty part": "a//x",
    "backslash": "a\\x",
    "parent with backslashes": "..\\..\\x",
    "UNC": "\\\\server\\share\\x",
    "long path of Windows": "\\\\?\\C:\\x",
    "drive": "C:/x",
    "drive without slash": "C:x",
    "fullwidth drive": "C：/x",
    "stream": "x.safetensors:hidden",
    "NUL": "x.safetensors\0.txt",
    "line break": "a\nb",
    "delete": "a\x7fb",
    "C1 control": "a\x85b",
    "dots": "a/.../x",
    "trailing dot": "a./x",
    "trailing space": "a /x",
    "spaces": "a/  /x",
    "question mark": "a?",
    "star": "*.safetensors",
    "pipe": "a|b",
    "less": "a<b",
    "greater": "a>b",
    "quote": 'a"b',
    "bidi": "a\u202efdp.safetensors",
    "zero width": "a\u200b.safetensors",
    "byte order mark": "\ufeffa",
    "line separator": "a\u2028b",
    "fullwidth dots": "．．/x",
    "two dot leader": "‥/x",
    "ellipsis": "…/x",
    "fullwidth slash": "..／x",
    "fullwidth backslash": "..＼x",
    "care of": "℅/x",
    "lone surrogate": "a\udcff",
    "reserved": "CON",
    "reserved with ending": "a/nul.safetensors",
    "reserved with many endings": "aux.tar.gz",
    "reserved with space": "con .txt",
    "reserved superscript": "LPT¹",
    "reserved fullwidth": "ＣＯＮ.txt",
    "console": "CONIN$",
    "long part": "x" * 256,
    "long part in bytes": "中" * 86,
    "long path": "a/" * 500 + "x",
}


@pytest.mark.parametrize("name", UNSAFE.values(), ids=UNSAFE.keys())
def test_what_could_lead_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ArchiveRefused) as refused:
        check_member_name(name)
    refused.value.detail.encode()  # can be sent, whatever the name holds
    assert refused.value.detail.isprintable()


@pytest.mark.parametrize(
    "name",
    [
        "x.safetensors",
        "a/b/c.safetensors",
        "folder/",
        ".hidden",
        "a..b",
        "Wait….safetensors",
        "角色：艾莉丝.safetensors",
        "é",  # decomposed
        "e\u0301.safetensors",
        "console.txt",
        "com10",
        "~x",
        "🎨 ink.safetensors",
        "x" * 255,
    ],
)
def test_ordinary_names_of_all_scripts_are_taken_as_they_are(name: str) -> None:
    assert check_member_name(name) == name
    assert safe_folder(name.replace(".hidden", "hidden"))


@given(st.text(st.characters(exclude_categories=()), max_size=400))
def test_any_text_becomes_one_safe_name_and_stays_it(text: str) -> None:
    name = safe_file_name(text)
    assert "/" not in name
    assert check_member_name(name) == name
    assert safe_file_name(name) == name
    assert PureWindowsPath(name).name == name


@given(st.text(st.characters(exclude_categories=()), max_size=900))
def test_any_text_becomes_a_folder_below_where_it_is_put(text: str) -> None:
    folder = safe_folder(text)
    assert safe_folder(folder) == folder
    if folder:
        assert check_member_name(f"{folder}/{'x' * 255}")


@given(st.text(min_size=1, max_size=280))
def test_a_model_and_its_side_files_keep_one_stem(stem: str) -> None:
    model = safe_file_name(stem + ".safetensors")
    assert model.endswith(".safetensors")
    for ending in (".civitai.info", ".preview.png", ".json"):
        side = safe_file_name(stem + ending)
        assert side.endswith(ending)
        if not stem.lower().endswith(".preview"):  # which is part of the ending then
            assert side[: -len(ending)] == model[: -len(".safetensors")]


def test_long_names_that_begin_alike_stay_apart() -> None:
    assert safe_file_name("x" * 300 + "1.pt") != safe_file_name("x" * 300 + "2.pt")


def test_a_folder_that_scans_pass_over_becomes_one_that_they_read() -> None:
    assert safe_folder(".git/hooks/../../x") == "_git/hooks/_/_/x"
