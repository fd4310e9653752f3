"""ZIPs of any size in one pass: what other programs make of them."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest

from lora_manager_core.import_export.archive.zip_writer import PIECE_BYTES, ZipWriter

SEVEN_ZIP = shutil.which("7zz") or shutil.which("7z")


def test_members_come_back_with_their_hashes(tmp_path: Path) -> None:
    target = io.BytesIO()
    archive = ZipWriter(target.write, tmp_path)
    contents = {"a/ü.txt": b"text " * 1000, "large.bin": os.urandom(3 * PIECE_BYTES + 5)}
    contents["empty"] = b""
    told: list[str] = []
    for name, content in contents.items():
        with archive.member(
            name, len(content), stored=name.endswith("bin"), on_hash=told.append
        ) as write:
            for start in range(0, len(content), PIECE_BYTES):
                write(content[start : start + PIECE_BYTES])
    archive.wait_for_hashes()
    archive.close()

    with zipfile.ZipFile(target) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == contents
        assert opened.getinfo("a/ü.txt").compress_size < 100
    assert told == [hashlib.sha256(content).hexdigest() for content in contents.values()]


def test_times_that_a_zip_cannot_say_are_brought_near(tmp_path: Path) -> None:
    target = io.BytesIO()
    archive = ZipWriter(target.write, tmp_path)
    for name, mtime_ns in (("old", 1), ("new", 5_000_000_000 * 10**9)):
        with archive.member(name, 1, mtime_ns=mtime_ns) as write:
            write(b"x")
    archive.close()

    with zipfile.ZipFile(target) as opened:
        assert opened.getinfo("old").date_time[0] == 1980
        assert opened.getinfo("new").date_time[0] == 2107


@pytest.mark.parametrize("password", [None, "x"], ids=["plain", "encrypted"])
def test_an_archive_that_is_given_up_has_no_end(tmp_path: Path, password: str | None) -> None:
    target, hashes = io.BytesIO(), list[str]()
    archive = ZipWriter(target.write, tmp_path, password=password)
    with archive.member("first", 1) as write:
        write(b"x")

    def _fail() -> None:
        with archive.member("second", on_hash=hashes.append) as write:
            write(os.urandom(2 * PIECE_BYTES))
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        _fail()
    archive.abort()

    assert hashes == []
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(target)
    assert list(tmp_path.iterdir()) == []
    assert not [t for t in threading.enumerate() if t.name == "archive-hash"]


def test_more_members_than_an_old_zip_can_have(tmp_path: Path) -> None:
    count = 66_000
    path = tmp_path / "many.zip"
    with path.open("wb") as target:
        archive = ZipWriter(target.write, tmp_path, level=None)
        for number in range(count):
            with archive.member(f"adapters/{number}.json", 2) as write:
                write(b"{}")
        archive.close()

    with zipfile.ZipFile(path) as opened:
        assert len(opened.infolist()) == count
        assert opened.read(f"adapters/{count - 1}.json") == b"{}"
    _require_seven_zip_agrees(path)


def test_a_member_of_over_four_gibibytes(tmp_path: Path) -> None:
    size = 2**32 + 2 * PIECE_BYTES
    path = tmp_path / "large.zip"
    zeros = bytes(PIECE_BYTES)
    with path.open("wb") as target:

        def _write(piece: bytes) -> None:
            if piece == zeros:  # a hole in the file: no disk has to hold it
                target.seek(len(piece), os.SEEK_CUR)
            else:
                target.write(piece)

        archive = ZipWriter(_write, tmp_path)
        with archive.member("large", size, stored=True) as write:
            for _ in range(size // PIECE_BYTES):
                write(zeros)
        with archive.member("behind", 4) as write:
            write(b"here")
        archive.close()

    with zipfile.ZipFile(path) as opened:
        assert opened.getinfo("large").file_size == size
        assert opened.getinfo("behind").header_offset > 2**32
        assert opened.read("behind") == b"here"
    _require_seven_zip_agrees(path, "l")  # reading it all takes a quarter of a minute


def _require_seven_zip_agrees(path: Path, how: str = "t") -> None:
    if SEVEN_ZIP is None:
        return
    tested = subprocess.run([SEVEN_ZIP, how, str(path)], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "Warnings" not in tested.stdout
