"""Archives whose directory and headers lie."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.hostile.base import EVIL, Hostile, good, of
from tests.fakes.raw_zip import DEFLATED, RawMember, deflate, raw_zip
from tests.fakes.sample_archives import (
    model,
)


def lying_directories() -> Iterator[Hostile]:
    """Ends and directories that are not true."""
    two = [good(), RawMember("b.safetensors", model(1))]
    whole = raw_zip(two)
    kinds: dict[str, tuple[bytes, str]] = {
        "fewer members than it says": (raw_zip(two, count=3), "fewer entries"),
        "more members than it says": (raw_zip(two, count=1), "more entries"),
        "directory elsewhere": (raw_zip(two, directory_start=5), "not where its end says"),
        "directory too small": (raw_zip(two, directory_size=50), "not where its end says"),
        "directory before the file": (
            raw_zip(two, directory_start=2**31),
            "not where its end says",
        ),
        "part of several": (raw_zip(two, disk=1), "one part of several"),
        "counts that differ": (raw_zip(two, count=2, count_here=1), "one part of several"),
        "member on another disk": (
            raw_zip([good(), RawMember("b.safetensors", model(), disk=2)]),
            "one part of several",
        ),
        "program before it": (b"MZ" + bytes(100) + whole, "not where its end says"),
        "program before it, counted": (raw_zip(two, before=b"#!/bin/sh\n"), "before its first"),
        "bytes between members": (
            raw_zip([good(), RawMember("b.safetensors", model(), gap=b"hidden")]),
            "hidden between",
        ),
        "member between members": (
            raw_zip([good(), RawMember("b.safetensors", model(), gap=good(2).local())]),
            "hidden between",
        ),
        "bytes before the directory": (raw_zip(two, between=b"hidden"), "hidden between"),
        "bytes before a directory of nothing": (raw_zip([], between=b"hidden"), "before its first"),
        "end in its comment": (
            raw_zip(two, comment=b"PK\x05\x06" + bytes(16) + b"\x00\x00"),
            "two ends",
        ),
        "another archive in its comment": (
            raw_zip(two, comment=raw_zip([RawMember(f"../{EVIL}.safetensors", model())])),
            "two ends",
        ),
        "comment cut off": (raw_zip(two, comment=b"hello")[:-2], "cut off"),
        "comment longer than it says": (raw_zip(two, comment=b"hello") + b"more", "cut off"),
        "ZIP64 end of another archive": (
            _zip64_lie(told_start=3),
            "ZIP64 end is not where it says",
        ),
        "ZIP64 end of several parts": (_zip64_lie(disks=2), "one part of several"),
        "ZIP64 end that contradicts": (_zip64_lie(count=1), "contradict"),
        "ZIP64 end with more in it": (_zip64_lie(record_size=60), "ZIP64 end is not where"),
    }
    for name, (content, reason) in kinds.items():
        yield of(f"directory: {name}", content, reason)
    broken = bytearray(whole)
    broken[whole.rfind(b"PK\x01\x02")] = 0
    yield of("directory: entry that is none", bytes(broken), "directory cannot be read")
    zip64 = struct.pack("<HHQ", 1, 8, 10)
    yield of(
        "directory: sizes twice",
        raw_zip([RawMember("a.safetensors", model(), extra=zip64 * 2)]),
        "twice",
    )
    yield of(
        "directory: size in a field that is too short",
        raw_zip([RawMember("a.safetensors", model(), size=0xFFFFFFFF, extra=b"\1\0\4\0abcd")]),
        "too short",
    )
    yield of(
        "directory: extra field that runs out",
        raw_zip([RawMember("a.safetensors", model(), extra=b"\x55\x54\xff\x00a")]),
        "longer than its place",
    )


def _zip64_lie(
    count: int = 0xFFFF, told_start: int | None = None, disks: int = 1, record_size: int = 44
) -> bytes:
    whole = raw_zip([good()])
    end, start = whole.rfind(b"PK\x05\x06"), whole.rfind(b"PK\x01\x02")
    true = 1 if count == 0xFFFF else 2
    record64 = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", record_size, 45, 45, 0, 0, true, true, end - start, start
    )
    place = end if told_start is None else told_start
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, place, disks)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, end - start, start, 0)
    return whole[:end] + record64 + locator + last


def lying_headers() -> Iterator[Hostile]:
    """Headers and contents that are not what the directory says."""
    content = model()
    kinds: dict[str, tuple[dict[str, Any], str]] = {
        "another name": ({"local_name": f"../{EVIL}.safetensors"}, "another name"),
        "NUL in its own header": ({"local_name": "a.safetensors\0"}, "another name"),
        "another method": ({"local_method": 8}, "another way of packing"),
        "other flags": ({"local_flags": 0x801}, "other flags"),
        "another size": ({"local_size": 5}, "other sizes"),
        "another checksum": ({"local_crc": 5}, "other sizes or another checksum"),
        "sizes later, but not there": ({"flags": 0x808}, "hidden between"),
        "sizes later, and others": (
            {"flags": 0x808, "after": struct.pack("<4s3L", b"PK\x07\x08", 1, 2, 3)},
            "hidden between",
        ),
        "two sizes": ({"size": 5}, "two sizes"),
    }
    for name, (lies, reason) in kinds.items():
        yield of(
            f"header: {name}",
            raw_zip([RawMember("a.safetensors", content, **lies), good(1)]),
            reason,
        )
    yield of(
        "header: within another member",
        raw_zip([good(), RawMember("b.safetensors", model(), at=7)]),
        "overlap",
    )
    yield of(
        "header: behind the end",
        raw_zip([good(), RawMember("b.safetensors", model(), at=2**31)]),
        "hidden between",
    )
    yield of(
        "header: no header",
        raw_zip([good(), RawMember("b.safetensors", content)]).replace(
            b"PK\x03\x04", b"PK\x03\x05"
        ),
        "not where the directory says",
    )
    yield Hostile("header: sizes without their upper half", _halved, "not where its end says")
    yield of(
        "contents: wrong checksum",
        raw_zip([RawMember("a.safetensors", content, crc=1)]),
        "checksum",
        "contents",
    )
    packed = deflate(content)
    stream: dict[str, tuple[dict[str, Any], str]] = {
        "no deflate": ({"packed": b"\xff" * 50}, "cannot be unpacked"),
        "cut off": ({"packed": packed[:-5]}, "ends too early"),
        "something behind their end": ({"packed": packed + b"more"}, "behind its end"),
        "less than they say": ({"packed": packed, "size": len(content) + 5}, "smaller than"),
        "more than they say": ({"packed": packed, "size": len(content) - 5}, "larger than"),
    }
    for name, (lies, reason) in stream.items():
        member = RawMember("a.safetensors", content, method=DEFLATED, **lies)
        yield of(f"contents: {name}", raw_zip([member]), reason, "contents")


def _halved(path: Path) -> None:
    """What some programs write for over 4 GiB: the sizes without what 32 bits do not hold."""
    whole = raw_zip([good()])
    start = whole.rfind(b"PK\x01\x02")
    with path.open("wb") as file:
        file.write(whole[:start])
        file.seek(2**32, 1)
        file.write(whole[start:])
