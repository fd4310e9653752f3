"""Archives that would fill the disk, the memory, or a day."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from lora_manager_core.import_export.archive.format import (
    file_member,
    record_member,
)
from tests.fakes.hostile.base import Hostile, good, of, raw
from tests.fakes.raw_zip import DEFLATED, RawMember, deflate, raw_zip
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    dump,
    model,
    own_members,
    record,
    sealed,
)


def bombs() -> Iterator[Hostile]:
    """More bytes, members or directory than anybody sends."""
    zeros = bytes(100 * 2**20)
    bomb = RawMember("a.safetensors", method=DEFLATED, packed=deflate(zeros, 6))
    bomb.crc, bomb.size = zlib.crc32(zeros), len(zeros)
    yield of("bomb: ratio", raw_zip([bomb]), "fill the disk")
    half = bytes(40 * 2**20)
    packed = deflate(half, 1)
    many = [RawMember(f"{n}.safetensors", method=DEFLATED, packed=packed) for n in range(40)]
    for member in many:
        member.crc, member.size = zlib.crc32(half), len(half)
    yield of("bomb: many members", raw_zip(many), "fill the disk")
    kernel = RawMember("0.safetensors", method=DEFLATED, packed=deflate(bytes(2**20)))
    kernel.crc, kernel.size = zlib.crc32(bytes(2**20)), 2**20
    overlapping = [kernel]
    for number in range(1, 40):
        again = RawMember(f"{number}.safetensors", method=DEFLATED, packed=kernel.packed, at=0)
        again.crc, again.size = kernel.crc, kernel.size
        overlapping.append(again)
    yield of("bomb: every member is the same bytes", raw_zip(overlapping), "overlap")
    yield of("bomb: a member quotes the next one's header", _quoting(), "overlap")
    inner = raw_zip([bomb])
    yield of("bomb: nested, alone", raw({"a.zip": inner, "b.zip": inner}), "no model files")
    own = own_members()
    own[file_member(ADAPTER_ID, "more.zip")] = inner
    own[record_member(ADAPTER_ID)] = dump(
        record(
            files=[
                {
                    "member": file_member(ADAPTER_ID, "more.zip"),
                    "kind": "model",
                    "name": "more.zip",
                    "mtime_ns": 0,
                }
            ]
        )
    )
    yield of("bomb: nested, as a model of ours", raw(sealed(own)), "another ending", "records")
    sized = RawMember("a.safetensors", model(), method=DEFLATED, size=2**31)
    yield of("bomb: size that is not there", raw_zip([sized]), "fill the disk")
    small = RawMember("a.safetensors", method=DEFLATED, packed=deflate(model() + bytes(2**20)))
    small.crc, small.size = zlib.crc32(model()), len(model())
    yield of("bomb: more than it says", raw_zip([small]), "larger than it says", "contents")
    yield of("bomb: more members than it has", raw_zip([good()], count=0xFFFE), "fewer entries")
    yield of("bomb: a million members", _with_zip64(10**6 + 1), "members")
    yield of("bomb: huge directory", _with_zip64(1, size=2**40), "directory")


def _quoting() -> bytes:
    """The first member's stored bytes are the second member, which has the same contents."""
    second = RawMember("b.safetensors", model())
    first = RawMember("a.safetensors", second.local())
    second.at = 30 + len("a.safetensors")
    return raw_zip([first, second])


def _with_zip64(count: int, size: int | None = None) -> bytes:
    whole = raw_zip([good()])
    end = whole.rfind(b"PK\x05\x06")
    start = whole.rfind(b"PK\x01\x02")
    told = end - start if size is None else size
    record64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, told, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return whole[:end] + record64 + locator + last
