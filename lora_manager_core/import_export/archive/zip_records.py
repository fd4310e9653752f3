"""The records of a ZIP as they stand in the file: its end, its directory, and its local headers.

Parsed here and not by a library, so that what was judged is what is read, and nothing is believed
before it was bounded. Format: PKWARE's APPNOTE 6.3.10; for AES, WinZip's AE-1 and AE-2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from lora_manager_core.errors import ArchiveRefused

STORED = 0
DEFLATED = 8
AES = 99

ENCRYPTED = 1 << 0
DESCRIPTOR = 1 << 3
UTF8 = 1 << 11

MAX_MEMBERS = 1_000_000
MAX_DIRECTORY_BYTES = 512 * 2**20

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_EXTRA = struct.Struct("<2H")
_AES_EXTRA = struct.Struct("<H2sBH")

_END_MARK = b"PK\x05\x06"
_MAX_COMMENT = 0xFFFF
_NO_16, _NO_32 = 0xFFFF, 0xFFFFFFFF

_ZIP64_EXTRA = 0x0001
_AES_EXTRA_ID = 0x9901
_PKWARE_UNIX_EXTRA = 0x000D
_ASI_UNIX_EXTRA = 0x756E


@dataclass(frozen=True, slots=True)
class End:
    """Where the directory lies and how many members it lists."""

    members: int
    directory_start: int
    directory_size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One member as the directory has it. Sizes in bytes; `method` is what lies beneath AES.

    `attributes` are the external ones; `aes` is the strength (1 to 3), 0 without encryption;
    `crc` is 0 where AE-2 keeps none; `links` says that an extra field names a file it links to.
    """

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    attributes: int
    aes: int
    aes_version: int
    links: bool


def damaged(why: str) -> ArchiveRefused:
    """The archive's structure is not what it must be; `why` ends the sentence."""
    return ArchiveRefused(f"The archive is damaged or was made to deceive: {why}.")


def read_end(file: BinaryIO, file_size: int) -> End | None:
    """The record at the end of the archive; None if there is none."""
    tail_size = min(file_size, _MAX_COMMENT + _END.size)
    tail = _at(file, file_size - tail_size, tail_size)
    found = list(_ends(tail))
    if not found:
        return None
    if len(found) > 1:
        raise damaged("it has two ends, one inside the other")
    position = file_size - tail_size + found[0]
    _, disk, start_disk, here, total, size, start, _ = _END.unpack_from(tail, found[0])
    end64 = _read_end64(file, position)
    if end64 is None:
        if disk or start_disk or here != total:
            raise _in_parts()
        end, limit = End(total, start, size), position
    else:
        end, limit = end64
        short = ((total, end.members, _NO_16), (here, end.members, _NO_16))
        long = ((size, end.directory_size, _NO_32), (start, end.directory_start, _NO_32))
        if any(told not in (true, none) for told, true, none in (*short, *long)):
            raise damaged("its two ends contradict each other")
    if end.members > MAX_MEMBERS:
        raise ArchiveRefused(f"The archive has over {MAX_MEMBERS:,} members; split it.")
    if end.directory_size > MAX_DIRECTORY_BYTES:
        raise ArchiveRefused("The directory of the archive is larger than 512 MiB; split it.")
    if end.directory_start + end.directory_size != limit:
        raise damaged("its directory is not where its end says")
    return end


def read_directory(file: BinaryIO, end: End) -> Iterator[Entry]:
    """The entries, in their order; checked to fill the directory and to be as many as promised."""
    file.seek(end.directory_start)
    left = end.directory_size
    for _ in range(end.members):
        if left < _ENTRY.size:
            raise damaged("its directory has fewer entries than it says")
        fields = _ENTRY.unpack(_exactly(file, _ENTRY.size))
        variable = sum(fields[10:13])
        left -= _ENTRY.size + variable
        if fields[0] != b"PK\x01\x02" or left < 0:
            raise damaged("its directory cannot be read")
        yield _entry(fields, _exactly(file, variable))
    if left:
        raise damaged("its directory has more entries than it says")


def data_start(file: BinaryIO, entry: Entry) -> int:
    """Where the bytes of a member begin; its local header must agree with the directory."""
    what = f"the header of “{entry.raw_name[:80].decode(errors='replace')}”"
    file.seek(entry.offset)
    fields = _LOCAL.unpack(_exactly(file, _LOCAL.size))
    mark, _, flags, method, _, _, crc, packed, size, name_length, extra_length = fields
    if mark != b"PK\x03\x04":
        raise damaged(f"{what} is not where the directory says")
    if _exactly(file, name_length) != entry.raw_name:
        raise damaged(f"{what} has another name than the directory")
    extra = _extra(_exactly(file, extra_length))
    if flags & ~0x0006 != entry.flags & ~0x0006:  # how hard it was packed does not matter
        raise damaged(f"{what} has other flags than the directory")
    wide = extra.get(_ZIP64_EXTRA, b"")
    if _NO_32 in (packed, size) and len(wide) >= 16:
        size, packed = struct.unpack_from("<2Q", wide)
    aes = _aes(extra) if method == AES else None
    found = aes or (0, 0, method)
    if found != (entry.aes, entry.aes_version, entry.method):
        raise damaged(f"{what} has another way of packing than the directory")
    given = (crc, packed, size)
    if given != (entry.crc, entry.packed, entry.size):
        later = entry.flags & DESCRIPTOR and crc in (0, entry.crc)
        if not later or packed not in (0, _NO_32, entry.packed):
            raise damaged(f"{what} has other sizes or another checksum than the directory")
        if size not in (0, _NO_32, entry.size):
            raise damaged(f"{what} has another size than the directory")
    return file.tell()


def is_descriptor(file: BinaryIO, entry: Entry, start: int, length: int) -> bool:
    """Whether these bytes are what may follow a member: its checksum and sizes once more."""
    if not entry.flags & DESCRIPTOR:
        return length == 0
    sizes = {12: "<L2L", 16: "<L2L", 20: "<L2Q", 24: "<L2Q"}.get(length)
    if sizes is None:
        return False
    raw = _at(file, start, length)
    if length in (16, 24):
        if not raw.startswith(b"PK\x07\x08"):
            return False
        raw = raw[4:]
    return struct.unpack(sizes, raw) == (entry.crc, entry.packed, entry.size)


def _ends(tail: bytes) -> Iterator[int]:
    """Where an end record begins whose comment fills the file exactly."""
    at = tail.rfind(_END_MARK, 0, max(len(tail) - _END.size + len(_END_MARK), 0))
    while at >= 0:
        if at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            yield at
        at = tail.rfind(_END_MARK, 0, at)


def _read_end64(file: BinaryIO, position: int) -> tuple[End, int] | None:
    """The ZIP64 end before the one at `position`, and where it begins."""
    start = position - _LOCATOR64.size - _END64.size
    if start < 0:
        return None
    raw = _at(file, start, _END64.size + _LOCATOR64.size)
    mark, locator_disk, told_start, disks = _LOCATOR64.unpack_from(raw, _END64.size)
    if mark != b"PK\x06\x07":
        return None
    if locator_disk or disks > 1:
        raise _in_parts()
    fields = _END64.unpack_from(raw)
    mark, record_size, _, _, disk, start_disk, here, total, size, directory_start = fields
    if mark != b"PK\x06\x06" or record_size != _END64.size - 12 or told_start != start:
        raise damaged("its ZIP64 end is not where it says")
    if disk or start_disk or here != total:
        raise _in_parts()
    return End(total, directory_start, size), start


def _entry(fields: tuple[int, ...], variable: bytes) -> Entry:
    flags, method = fields[3], fields[4]
    crc, packed, size, name_length, extra_length = fields[7:12]
    disk, attributes, offset = fields[13], fields[15], fields[16]
    extra = _extra(variable[name_length : name_length + extra_length])
    wide = extra.get(_ZIP64_EXTRA, b"")
    values = []
    for value in (size, packed, offset):
        if value == _NO_32 and wide:
            if len(wide) < 8:
                raise damaged("a ZIP64 field is too short")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        values.append(value)
    size, packed, offset = values
    if disk and not (disk == _NO_16 and wide[:4] == b"\0\0\0\0"):
        raise _in_parts()
    aes, aes_version, method = _aes(extra) if method == AES else (0, 0, method)
    return Entry(
        variable[:name_length],
        flags,
        method,
        crc,
        packed,
        size,
        offset,
        attributes,
        aes,
        aes_version,
        _is_link(extra),
    )


def _extra(raw: bytes) -> dict[int, bytes]:
    """Extra fields by id; those that mean something may be there once only."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + _EXTRA.size <= len(raw):
        kind, length = _EXTRA.unpack_from(raw, at)
        at += _EXTRA.size
        if at + length > len(raw):
            raise damaged("an extra field is longer than its place")
        if kind in fields and kind in (_ZIP64_EXTRA, _AES_EXTRA_ID):
            raise damaged("an extra field is there twice")
        fields[kind] = raw[at : at + length]
        at += length
    return fields


def _aes(extra: dict[int, bytes]) -> tuple[int, int, int]:
    """Strength, version and the method beneath."""
    raw = extra.get(_AES_EXTRA_ID, b"")
    if len(raw) != _AES_EXTRA.size:
        raise damaged("the description of its encryption is missing or broken")
    version, vendor, strength, method = _AES_EXTRA.unpack(raw)
    if vendor != b"AE" or version not in (1, 2) or strength not in (1, 2, 3):
        raise damaged("its encryption is of an unknown kind")
    return strength, version, method


def _is_link(extra: dict[int, bytes]) -> bool:
    """Whether an extra field of old Unix programs names the target of a link."""
    asi = extra.get(_ASI_UNIX_EXTRA, b"")
    return len(extra.get(_PKWARE_UNIX_EXTRA, b"")) > 12 or (
        len(asi) >= 14 and asi[4:6] != b"\0\0" and asi[5] & 0xF0 not in (0x80, 0x40)
    )


def _in_parts() -> ArchiveRefused:
    return ArchiveRefused("The archive is one part of several; join them to one archive first.")


def _at(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return _exactly(file, count)


def _exactly(file: BinaryIO, count: int) -> bytes:
    raw = file.read(count)
    if len(raw) != count:
        raise damaged("it ends too early")
    return raw
