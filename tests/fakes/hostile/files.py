"""Files that are no archives, and archives whose members are no ordinary files."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.fakes.hostile.base import EVIL, PICKLE, Hostile, good, of, ordinary
from tests.fakes.raw_zip import RawMember, raw_zip
from tests.fakes.sample_archives import (
    folder_members,
    model,
    own_members,
    sealed,
)


def no_archives() -> Iterator[Hostile]:
    """Files that are no archives."""
    whole = ordinary(folder_members())
    kinds = {
        "empty file": (b"", "is empty"),
        "text": (b"hello " * 100, "not a ZIP"),
        "web page": (b"\n<!DOCTYPE html><html>login</html>", "web page"),
        "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(100), "7-Zip"),
        "rar": (b"Rar!\x1a\x07\x01\x00" + bytes(100), "RAR"),
        "gzip": (b"\x1f\x8b\x08" + bytes(100), "gzip"),
        "zstandard": (b"(\xb5/\xfd" + bytes(100), "Zstandard"),
        "safetensors": (model(), "not a ZIP"),
        "pickle": (PICKLE, "not a ZIP"),
        "cut in the middle": (whole[: len(whole) // 2], "cut off"),
        "cut before the end": (whole[:-22], "cut off"),
        "cut by one byte": (whole[:-1], "cut off"),
        "beginning lost": (whole[100:], "damaged"),
        "bytes behind the end": (whole + b"x", "cut off"),
        "nothing in it": (ordinary({}), "empty"),
        "no models in it": (ordinary({"a.txt": b"hello", "b.py": b"1"}), "no model files"),
        "its end alone": (b"PK\x05\x06" + bytes(17), "not a ZIP"),
        "packed again in a folder": (
            ordinary({f"export/{n}": c for n, c in sealed(own_members()).items()}),
            "packed again",
        ),
    }
    for name, (content, reason) in kinds.items():
        yield of(f"no archive: {name}", content, reason)


def odd_members() -> Iterator[Hostile]:
    """Members that are links, devices, doubles, or packed in odd ways."""
    kinds = {
        "symlink": (0o120777, "link"),
        "socket": (0o140755, "link or a device"),
        "device": (0o060644, "link or a device"),
        "character device": (0o020644, "link or a device"),
        "pipe": (0o010644, "link or a device"),
        "hard link as in tar": (0o110644, "link or a device"),
        "folder without a slash": (0o040755, "file and a folder"),
    }
    for name, (mode, reason) in kinds.items():
        link = RawMember("link.safetensors", b"/etc/passwd", attributes=mode << 16)
        yield of(f"member: {name}", raw_zip([good(), link]), reason)
    yield of(
        "member: symlink and a file below it",
        raw_zip(
            [
                RawMember("a", b"/tmp", attributes=0o120777 << 16),
                RawMember(f"a/{EVIL}.safetensors", model()),
            ]
        ),
        "link",
    )
    yield of(
        "member: link of Windows",
        raw_zip([good(), RawMember("l.safetensors", b"x", attributes=0x400, system=0)]),
        "link",
    )
    target = b"/etc/passwd"
    extra = struct.pack("<HHLLHH", 0x000D, 12 + len(target), 0, 0, 0, 0) + target
    yield of(
        "member: hard link in an extra field",
        raw_zip([good(), RawMember("l.safetensors", b"", extra=extra)]),
        "link",
    )
    asi = struct.pack("<LHLHH", 0, 0o120777, len(target), 0, 0) + target
    extra = struct.pack("<HH", 0x756E, len(asi)) + asi
    yield of(
        "member: symlink in an extra field",
        raw_zip([good(), RawMember("l.safetensors", b"", extra=extra)]),
        "link",
    )
    yield of(
        "member: folder with contents",
        raw_zip([good(), RawMember("styles/", b"hidden", attributes=0o040755 << 16)]),
        "folder with contents",
    )
    yield of(
        "member: file and folder of one name",
        raw_zip([good(), RawMember("styles", b"x"), RawMember("styles/a.safetensors", model())]),
        "file and a folder",
    )
    yield of(
        "member: file with a slash",
        raw_zip([good(), RawMember("styles/", b"")]),
        "file and a folder",
    )
    yield of("names: two alike", raw_zip([good(), good(1)]), "two members")
    pairs = {
        "case": ("A.safetensors", "a.safetensors"),
        "sharp s": ("straße.safetensors", "STRASSE.safetensors"),
        "composed": ("é.safetensors", "e\u0301.safetensors"),
        "kelvin": ("\u212a.safetensors", "k.safetensors"),
    }
    for name, (first, second) in pairs.items():
        yield of(
            f"names: alike but for {name}",
            raw_zip([RawMember(first, model()), RawMember(second, model(1))]),
            "one file on many systems",
        )
    for method, name in (
        (1, "shrunk"),
        (9, "deflate64"),
        (12, "bzip2"),
        (14, "lzma"),
        (93, "zstd"),
    ):
        yield of(
            f"method: {name}",
            raw_zip([RawMember("a.safetensors", model(), method=method)]),
            "method other than",
        )
    for bit, name in ((5, "patch"), (6, "strong encryption"), (13, "masked header")):
        yield of(
            f"flags: {name}",
            raw_zip([RawMember("a.safetensors", model(), flags=0x800 | 1 << bit)]),
            "unknown way",
        )
    yield of(
        "encryption: the old one",
        raw_zip([RawMember("a.safetensors", model(), flags=0x801)]),
        "old encryption",
        password="secret",
    )
