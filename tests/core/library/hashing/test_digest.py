"""The hashes of one file, beside those of other tools, and what stops the reading."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from lora_manager_core.library.hashing.digest import PIECE_BYTES, FileChanged, hash_file
from tests.fakes.lora_files import touch_later, write_lora


def _hashes(path: Path):
    status = path.stat()
    return hash_file(path, status.st_size, status.st_mtime_ns)


def test_are_those_of_the_file_and_of_what_lies_behind_its_header(tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors", {"ss_output_name": "x"}, seed=3)
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    hashes = _hashes(path)
    assert hashes.whole == hashlib.sha256(content).hexdigest()
    assert hashes.tensors == hashlib.sha256(content[begin:]).hexdigest()
    assert (hashes.autov2, hashes.autov3) == (hashes.whole[:10], hashes.tensors[:12])


def test_tensors_are_the_same_whatever_the_metadata_say(tmp_path: Path) -> None:
    one = _hashes(write_lora(tmp_path / "one.safetensors", {"title": "one"}))
    other = _hashes(write_lora(tmp_path / "other.safetensors", {"title": "another one"}))
    assert one.tensors == other.tensors
    assert one.whole != other.whole


@pytest.mark.parametrize("header", [0, 100, PIECE_BYTES - 8, PIECE_BYTES + 5], ids=str)
def test_of_files_of_several_pieces(tmp_path: Path, header: int) -> None:
    rest = os.urandom(2 * PIECE_BYTES + 17)
    path = tmp_path / "large.safetensors"
    path.write_bytes(header.to_bytes(8, "little") + b" " * header + rest)
    hashes = _hashes(path)
    assert hashes.whole == hashlib.sha256(path.read_bytes()).hexdigest()
    assert hashes.tensors == (hashlib.sha256(rest).hexdigest() if header else None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.safetensors", b""),
        ("short.safetensors", b"\x05"),
        ("cut.safetensors", (500).to_bytes(8, "little") + b"{}"),
        ("pickle.pt", (2).to_bytes(8, "little") + b"{}tensors"),
    ],
    ids=["empty", "short", "cut off", "pickle"],
)
def test_without_a_whole_header_there_is_no_second_hash(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    hashes = _hashes(path)
    assert hashes.whole == hashlib.sha256(content).hexdigest()
    assert (hashes.tensors, hashes.autov3) == (None, None)


def test_counts_the_bytes_and_may_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "large.pt"
    path.write_bytes(bytes(2 * PIECE_BYTES + 1))
    status, counted = path.stat(), []
    hash_file(path, status.st_size, status.st_mtime_ns, counted.append)
    assert counted == [0, PIECE_BYTES, PIECE_BYTES, 1]

    def stop(count: int) -> None:
        if count:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        hash_file(path, status.st_size, status.st_mtime_ns, stop)


@pytest.mark.parametrize("when", ["before", "meanwhile", "put in its place"])
def test_a_file_that_changes_has_no_hashes(tmp_path: Path, when: str) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    status = path.stat()

    def change(count: int) -> None:
        if count and when == "meanwhile":
            touch_later(path)
        elif count and when == "put in its place":
            write_lora(tmp_path / "b.safetensors", width=2048).replace(path)

    if when == "before":
        touch_later(path)
    with pytest.raises(FileChanged):
        hash_file(path, status.st_size, status.st_mtime_ns, change)
