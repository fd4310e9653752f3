"""Reading safetensors headers: what is refused and why, and that nothing else ever escapes."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lora_manager_core.library.safetensors_header import (
    DTYPE_BITS,
    HeaderUnreadable,
    read_header,
    read_scalar,
)

TENSOR = '"a.alpha":{"dtype":"F16","shape":[],"data_offsets":[0,2]}'


def with_header(text: str | bytes, data: bytes = b"\0\0") -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw + data


@pytest.fixture
def write(tmp_path: Path):
    def write(content: bytes) -> Path:
        path = tmp_path / "some.safetensors"
        path.write_bytes(content)
        return path

    return write


def entry(dtype: object = "F16", shape: object = (), offsets: object = (0, 2)) -> str:
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


class TestReadHeader:
    def test_gives_metadata_tensors_and_where_the_data_begins(self, write) -> None:
        text = '{"__metadata__":{"ss_steps":"12"},' + TENSOR + "}  "
        header = read_header(write(with_header(text)))
        assert header.metadata == {"ss_steps": "12"}
        assert header.tensors["a.alpha"]["data_offsets"] == [0, 2]
        assert header.data_start == 8 + len(text)
        assert header.file_size == 8 + len(text) + 2
        assert header.mtime_ns > 0

    @pytest.mark.parametrize(
        "text",
        [
            "{" + TENSOR + ',"__metadata__":{"k":"v"}}',
            '{ "__metadata__": {"k": "v"}, ' + TENSOR + "}",
        ],
        ids=["metadata last", "spaces between"],
    )
    def test_takes_metadata_wherever_it_stands(self, write, text: str) -> None:
        assert read_header(write(with_header(text))).metadata == {"k": "v"}

    @pytest.mark.parametrize(
        "value",
        ['"},', '"},"x":', 'a"},"b":{"', "\\", '{"data_offsets":[0,1]}', "été 水"],
        ids=["ends like metadata", "looks like a tensor", "nested", "backslash", "json", "unicode"],
    )
    @pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "utf-8"])
    def test_is_not_misled_by_texts_in_metadata(self, write, value: str, ascii_only: bool) -> None:
        document = {"__metadata__": {"k": value, "l": value}, **json.loads("{" + TENSOR + "}")}
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=ascii_only)
        header = read_header(write(with_header(text)))
        assert header.metadata == {"k": value, "l": value}
        assert list(header.tensors) == ["a.alpha"]

    def test_turns_numbers_into_text_and_drops_what_is_none(self, write) -> None:
        text = '{"__metadata__":{"a":"x","n":1,"b":true,"l":[1],"o":{},"z":null}}'
        metadata = read_header(write(with_header(text))).metadata
        assert metadata == {"a": "x", "n": "1", "b": "True"}

    def test_reads_a_header_longer_than_the_first_read(self, write) -> None:
        text = '{"__metadata__":{"k":"' + "x" * 200_000 + '"},' + TENSOR + "}"
        assert len(read_header(write(with_header(text))).metadata["k"]) == 200_000

    def test_accepts_a_file_without_tensors(self, write) -> None:
        assert read_header(write(with_header("{}", b""))).tensors == {}

    def test_agrees_with_the_reference_implementation(self, tmp_path: Path) -> None:
        safetensors_numpy = pytest.importorskip("safetensors.numpy")
        numpy = pytest.importorskip("numpy")
        path = tmp_path / "real.safetensors"
        arrays = {"x.lora_down.weight": numpy.zeros((4, 8), dtype="float32")}
        safetensors_numpy.save_file(arrays, path, metadata={"format": "np"})
        header = read_header(path)
        assert header.tensors["x.lora_down.weight"]["shape"] == [4, 8]
        assert header.metadata == {"format": "np"}


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            pytest.param(b"", "empty", id="empty file"),
            pytest.param(b"\x01\x02", "too short", id="two bytes"),
            pytest.param(struct.pack("<Q", 2), "too short", id="a length and nothing"),
            pytest.param(struct.pack("<Q", 1) + b"{}", "header is empty", id="length below two"),
            pytest.param(struct.pack("<Q", 2**40) + b"{}", "100 MB", id="length over 100 MB"),
            pytest.param(b"<!DOCTYPE html><html>", "100 MB", id="an HTML page"),
            pytest.param(struct.pack("<Q", 900) + b"{}", "longer than", id="beyond the file"),
            pytest.param(with_header(b'{"\xff":1}'), "valid JSON", id="invalid UTF-8"),
            pytest.param(with_header("{nope"), "valid JSON", id="invalid JSON"),
            pytest.param(with_header('{"a":NaN}'), "valid JSON", id="NaN"),
            pytest.param(with_header('{"a":-Infinity}'), "valid JSON", id="Infinity"),
            pytest.param(with_header('{"a":' + "[" * 9999), "valid JSON", id="deeply nested"),
            pytest.param(with_header("[1,2]"), "not a JSON object", id="a list"),
            pytest.param(with_header('{"__metadata__":[]}'), "metadata", id="metadata is a list"),
            pytest.param(with_header('{"a":7}'), "JSON object", id="entry is a number"),
            pytest.param(with_header('{"a":{}}'), "no dtype", id="entry is empty"),
            pytest.param(with_header(entry("F17")), "unknown dtype", id="unknown dtype"),
            pytest.param(with_header(entry(["F16"])), "unknown dtype", id="dtype is a list"),
            pytest.param(with_header(entry(shape=[-1])), "shape", id="negative axis"),
            pytest.param(with_header(entry(shape=[1.0])), "shape", id="axis is a float"),
            pytest.param(with_header(entry(shape=[True])), "shape", id="axis is a boolean"),
            pytest.param(with_header(entry(shape="1")), "shape", id="shape is a text"),
            pytest.param(with_header(entry(shape=[9] * 99_999)), "64 axes", id="99,999 axes"),
            pytest.param(with_header(entry(offsets=[0])), "offsets", id="one offset"),
            pytest.param(with_header(entry(offsets=[0, 2, 4])), "offsets", id="three offsets"),
            pytest.param(with_header(entry(offsets=["0", "2"])), "offsets", id="offsets are texts"),
            pytest.param(with_header(entry(offsets=[-2, 0])), "offsets", id="negative offset"),
            pytest.param(with_header(entry(offsets=[2, 0])), "ends before", id="reversed"),
            pytest.param(with_header(entry(offsets=[0, 4])), "does not fit", id="too long"),
            pytest.param(with_header(entry(shape=[3])), "does not fit", id="too short for shape"),
            pytest.param(
                with_header(entry(offsets=[100, 102])), "100 bytes", id="offsets beyond the file"
            ),
            pytest.param(with_header("{" + TENSOR + "}", b"\0"), "1 bytes", id="cut off"),
        ],
    )
    def test_says_why(self, write, content: bytes, reason: str) -> None:
        path = write(content)
        with pytest.raises(HeaderUnreadable, match=reason) as caught:
            read_header(path)
        assert str(path) not in caught.value.reason
        assert str(caught.value) == caught.value.reason

    @pytest.mark.parametrize(
        "text",
        [
            "{" + TENSOR + "," + TENSOR + "}",
            '{"__metadata__":{"k":"v"},' + TENSOR + "," + TENSOR + "}",
            '{"__metadata__":{"k":"v"},' + TENSOR + ',"__metadata__":{"k":"v"}}',
            "{" + TENSOR + "," + TENSOR.replace('"data_off', '"data\\u005foff') + "}",
            "{" + TENSOR.replace('"shape"', '"dtype":"F16","shape"') + "}",
        ],
        ids=[
            "tensor",
            "tensor after metadata",
            "metadata",
            "spelt with escapes",
            "inside an entry",
        ],
    )
    def test_refuses_what_is_named_twice(self, write, text: str) -> None:
        with pytest.raises(HeaderUnreadable, match="twice|object"):
            read_header(write(with_header(text)))

    def test_a_tensor_called_data_offsets_is_no_duplicate(self, write) -> None:
        text = '{"data_offsets":{"dtype":"F16","shape":[],"data_offsets":[0,2]}}'
        assert list(read_header(write(with_header(text))).tensors) == ["data_offsets"]

    def test_a_missing_file_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(HeaderUnreadable, match="cannot be read") as caught:
            read_header(tmp_path / "absent.safetensors")
        assert str(tmp_path) not in caught.value.reason

    def test_a_folder_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(HeaderUnreadable, match="cannot be read"):
            read_header(tmp_path)

    def test_an_impossible_path_cannot_be_read(self) -> None:
        with pytest.raises(HeaderUnreadable, match="cannot be read"):
            read_header("a\0b")

    @settings(
        max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_a_damaged_header_never_raises_anything_else(self, write, data: st.DataObject) -> None:
        text = (
            '{"__metadata__":{"k":"v\\"},"},'
            + TENSOR
            + ',"b":'
            + json.dumps({"dtype": "F32", "shape": [2, 3], "data_offsets": [2, 26]})
        )
        content = bytearray(with_header(text + "}", b"\0" * 26))
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(content) - 1))
            if data.draw(st.booleans()):
                content[place] = data.draw(st.integers(0, 255))
            else:
                piece = data.draw(st.sampled_from([b"", b'"', b"}", b"9", b"[", b"null", b"\\"]))
                content[place : place + data.draw(st.integers(0, 9))] = piece
            if not content:
                break
        path = write(bytes(content))
        with suppress(HeaderUnreadable):
            header = read_header(path)
            for name, tensor in header.tensors.items():
                assert tensor["dtype"] in DTYPE_BITS
                read_scalar(path, header, name)


class TestReadScalar:
    @pytest.mark.parametrize(
        ("dtype", "raw", "value"),
        [
            ("F16", struct.pack("<e", 8), 8.0),
            ("BF16", struct.pack("<f", 8)[2:], 8.0),
            ("F32", struct.pack("<f", 0.5), 0.5),
            ("F64", struct.pack("<d", 16), 16.0),
            ("F16", struct.pack("<e", float("inf")), None),
            ("F32", struct.pack("<f", float("nan")), None),
            ("I32", struct.pack("<i", 8), None),
        ],
        ids=["F16", "BF16", "F32", "F64", "infinite", "NaN", "whole numbers are no alpha"],
    )
    def test_reads_one_value_at_its_offset(self, write, dtype, raw, value) -> None:
        end = 4 + len(raw)
        text = json.dumps({"a": {"dtype": dtype, "shape": [1], "data_offsets": [4, end]}})
        path = write(with_header(text, b"\x11" * 4 + raw))
        assert read_scalar(path, read_header(path), "a") == value

    def test_gives_none_for_more_than_one_element_and_for_unknown_names(self, write) -> None:
        path = write(with_header(entry(shape=[2], offsets=[0, 4]), b"\0" * 4))
        header = read_header(path)
        assert read_scalar(path, header, "a") is None
        assert read_scalar(path, header, "b") is None

    def test_gives_none_when_the_file_is_gone(self, write) -> None:
        path = write(with_header(entry()))
        header = read_header(path)
        path.unlink()
        assert read_scalar(path, header, "a") is None
