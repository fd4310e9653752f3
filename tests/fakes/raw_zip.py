"""Writes ZIPs byte by byte, so that every record of them can lie."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

REGULAR = 0o100644 << 16
STORED, DEFLATED = 0, 8


@dataclass
class RawMember:
    """One member. What is None is what an honest program would write; `local_*` is said in its own
    header only. `gap` are bytes before it; `at` lets it begin at the bytes of another member.
    """

    name: str | bytes
    content: bytes = b""
    method: int = STORED
    packed: bytes | None = None
    flags: int = 0x800
    crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    attributes: int = REGULAR
    extra: bytes = b""
    system: int = 3
    disk: int = 0
    gap: bytes = b""
    after: bytes = b""
    at: int | None = None
    local_name: str | bytes | None = None
    local_flags: int | None = None
    local_method: int | None = None
    local_size: int | None = None
    local_crc: int | None = None
    _offset: int = field(default=0, init=False)

    def local(self) -> bytes:
        """Its header and its bytes."""
        name = _bytes(self.name if self.local_name is None else self.local_name)
        return (
            struct.pack(
                "<4s5H3L2H",
                b"PK\x03\x04",
                20,
                _or(self.local_flags, self.flags),
                _or(self.local_method, self.method),
                0,
                0x21,
                _or(self.local_crc, self._crc()),
                self._packed_size() & 0xFFFFFFFF,
                _or(self.local_size, self._size()) & 0xFFFFFFFF,
                len(name),
                len(self.extra),
            )
            + name
            + self.extra
            + self._packed()
            + self.after
        )

    def entry(self) -> bytes:
        """What the directory says of it."""
        name = _bytes(self.name)
        return (
            struct.pack(
                "<4s6H3L5H2L",
                b"PK\x01\x02",
                self.system << 8 | 20,
                20,
                self.flags,
                self.method,
                0,
                0x21,
                self._crc(),
                self._packed_size() & 0xFFFFFFFF,
                self._size() & 0xFFFFFFFF,
                len(name),
                len(self.extra),
                0,
                self.disk,
                0,
                self.attributes & 0xFFFFFFFF,
                _or(self.at, self._offset),
            )
            + name
            + self.extra
        )

    def _packed(self) -> bytes:
        if self.packed is not None:
            return self.packed
        return deflate(self.content) if self.method == DEFLATED else self.content

    def _crc(self) -> int:
        return zlib.crc32(self.content) if self.crc is None else self.crc

    def _size(self) -> int:
        return _or(self.size, len(self.content))

    def _packed_size(self) -> int:
        return _or(self.packed_size, len(self._packed()))


def raw_zip(
    members: Sequence[RawMember],
    *,
    before: bytes = b"",
    between: bytes = b"",
    comment: bytes = b"",
    behind: bytes = b"",
    count: int | None = None,
    count_here: int | None = None,
    directory_size: int | None = None,
    directory_start: int | None = None,
    disk: int = 0,
) -> bytes:
    """The archive. `between` stands before the directory, `behind` after the end."""
    whole = bytearray(before)
    for member in members:
        if member.at is None:
            whole += member.gap
            member._offset = len(whole)
            whole += member.local()
    whole += between
    start = len(whole)
    for member in members:
        whole += member.entry()
    size = len(whole) - start
    total = _or(count, len(members))
    whole += struct.pack(
        "<4s4H2LH",
        b"PK\x05\x06",
        disk,
        disk,
        _or(count_here, total),
        total,
        _or(directory_size, size),
        _or(directory_start, start),
        len(comment),
    )
    return bytes(whole + comment + behind)


def deflate(content: bytes, level: int = 9) -> bytes:
    """As it lies in a ZIP."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


def _bytes(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogatepass")


def _or(value: int | None, other: int) -> int:
    return other if value is None else value
