"""What must be true of a ZIP before it is used: nothing doubled, hidden, linked, or far too large.

Says in plain words why a file is refused. Reads the directory and the headers, no contents.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.names import check_member_name
from lora_manager_core.import_export.archive.zip_records import (
    DEFLATED,
    ENCRYPTED,
    STORED,
    UTF8,
    Entry,
    damaged,
    data_start,
    is_descriptor,
    read_directory,
    read_end,
)
from lora_manager_core.library.files.names import shown

#: What may come of few bytes, whatever the ratio; texts are packed well, weights never are.
FREE_EXPANSION = 64 * 2**20
MAX_RATIO = 200

_MODE_TYPE, _REGULAR, _FOLDER = 0xF000, 0x8000, 0x4000
_DOS_FOLDER, _DOS_LINK = 0x10, 0x400
#: Patched data, PKWARE's own encryption, and an encrypted directory.
_UNKNOWN_FLAGS = 1 << 5 | 1 << 6 | 1 << 13
_STARTS = (
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive (.7z)"),
    (b"Rar!", "a RAR archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"(\xb5/\xfd", "a Zstandard file"),
)


@dataclass(frozen=True, slots=True)
class Member:
    """One member that may be read: `size` bytes come of the `packed` ones from `start` on.

    `deflated` says whether they were packed; `aes` is the strength of the encryption (1 to 3), 0
    without; `crc` is None where the encryption's own check stands for it.
    """

    name: str
    size: int
    packed: int
    start: int
    deflated: bool
    crc: int | None
    aes: int


def read_structure(file: BinaryIO, file_size: int) -> dict[str, Member]:
    """The members by name, in the order of the directory, without folders.

    Raises:
        ArchiveRefused: the file is no ZIP, or one that cannot be trusted; says why.
    """
    end = read_end(file, file_size)
    if end is None:
        raise _no_end(file, file_size)
    entries = list(read_directory(file, end))
    names = [_name(entry) for entry in entries]
    for name, entry in zip(names, entries, strict=True):
        _check_kind(name, entry)
    _check_names(names)
    _check_encryption(names, entries)
    _check_sizes(names, entries, file_size)
    starts = _check_places(file, entries, end.directory_start)
    return {
        name: Member(
            name,
            entry.size,
            entry.packed,
            starts[index],
            entry.method == DEFLATED,
            None if entry.aes_version == 2 else entry.crc,
            entry.aes,
        )
        for index, (name, entry) in enumerate(zip(names, entries, strict=True))
        if not name.endswith("/")
    }


def collision_key(name: str) -> str:
    """What two names have in common that some system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _no_end(file: BinaryIO, file_size: int) -> ArchiveRefused:
    """Why a file without the end of a ZIP is none."""
    file.seek(0)
    start = file.read(512)
    if not file_size:
        return ArchiveRefused("The file is empty; upload it again.")
    if start.startswith((b"PK\x03\x04", b"PK\x07\x08", b"PK00")):
        return ArchiveRefused(
            "The archive is cut off, or something was added to it: it has no end. "
            "Download or copy it again."
        )
    for mark, kind in _STARTS:
        if start.startswith(mark):
            return ArchiveRefused(f"The file is {kind}, not a ZIP archive; pack it as ZIP.")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return ArchiveRefused(
            "The file is a web page, not a ZIP archive; perhaps the download asked for a login."
        )
    return ArchiveRefused("The file is not a ZIP archive.")


def _name(entry: Entry) -> str:
    raw = entry.raw_name
    try:
        # Some programs write UTF-8 and do not say so.
        return check_member_name(raw.decode())
    except UnicodeDecodeError:
        if entry.flags & UTF8:
            raise damaged("the name of a member is not valid UTF-8") from None
        return check_member_name(raw.decode("cp437"))


def _check_kind(name: str, entry: Entry) -> None:
    folder = name.endswith("/")
    mode = entry.attributes >> 16 & _MODE_TYPE
    if entry.links or mode not in (0, _REGULAR, _FOLDER) or entry.attributes & _DOS_LINK:
        raise _refused(name, "is a link or a device, not a file")
    if folder != bool(mode == _FOLDER or entry.attributes & _DOS_FOLDER) and (mode or not folder):
        raise _refused(name, "is a file and a folder at once")
    if folder and entry.size:
        raise _refused(name, "is a folder with contents")
    if entry.flags & _UNKNOWN_FLAGS:
        raise _refused(name, "is packed in an unknown way")
    if entry.flags & ENCRYPTED and not entry.aes:
        raise ArchiveRefused(
            "The archive has the old encryption of ZIP, which protects nothing; "
            "make it again with AES-256."
        )
    if entry.aes and not entry.flags & ENCRYPTED:
        raise _refused(name, "is encrypted and says that it is not")
    if entry.method not in (STORED, DEFLATED):
        raise _refused(
            name,
            "is packed by a method other than “store” and “deflate”; pack it again with one of "
            "those",
        )
    overhead = _overhead(entry)
    if entry.packed < overhead:
        raise _refused(name, "is shorter than its encryption")
    if entry.method == STORED and entry.packed != entry.size + overhead:
        raise _refused(name, "is stored and has two sizes")


def _refused(name: str, why: str) -> ArchiveRefused:
    return ArchiveRefused(f"The archive is refused: its member “{shown(name)}” {why}.")


def _overhead(entry: Entry) -> int:
    """Bytes that the encryption adds: salt, check of the password, check of the contents."""
    return 4 + 4 * entry.aes + 2 + 10 if entry.aes else 0


def _check_names(names: Iterable[str]) -> None:
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        key = collision_key(name)
        inside = key.rstrip("/")
        while "/" in inside:
            inside = inside.rpartition("/")[0]
            if inside in folders:
                break
            folders[inside] = name
        if name.endswith("/"):
            folders.setdefault(key.rstrip("/"), name)
            continue
        earlier = files.get(key)
        if earlier is not None:
            raise damaged(
                f"it has two members “{shown(name)}”"
                if earlier == name
                else f"“{shown(earlier)}” and “{shown(name)}” are one file on many systems"
            )
        files[key] = name
    both = files.keys() & folders.keys()
    if both:
        raise damaged(f"“{shown(files[min(both)])}” is a file and a folder at once")


def _check_encryption(names: Iterable[str], entries: Iterable[Entry]) -> None:
    kinds = {
        bool(entry.aes)
        for name, entry in zip(names, entries, strict=True)
        if not name.endswith("/")
    }
    if len(kinds) > 1:
        raise ArchiveRefused(
            "The archive is refused: some of its members are encrypted and some are not."
        )


def _check_sizes(names: Iterable[str], entries: Iterable[Entry], file_size: int) -> None:
    total = 0
    for name, entry in zip(names, entries, strict=True):
        total += entry.size
        if entry.size > FREE_EXPANSION + MAX_RATIO * entry.packed:
            raise _bomb(f"“{shown(name)}” would expand to over {MAX_RATIO} times its size")
    if total > FREE_EXPANSION + MAX_RATIO * file_size:
        raise _bomb(f"it would expand to over {MAX_RATIO} times its size")


def _bomb(why: str) -> ArchiveRefused:
    return ArchiveRefused(f"The archive is refused because it could fill the disk: {why}.")


def _check_places(file: BinaryIO, entries: list[Entry], end: int) -> Mapping[int, int]:
    """Where each member's bytes begin; members must follow each other without gap or overlap."""
    starts: dict[int, int] = {}
    order = sorted(range(len(entries)), key=lambda index: entries[index].offset)
    bounds = [entries[index].offset for index in order] + [end]
    if bounds[0]:
        raise damaged("there is something before its first member")
    for index, next_start in zip(order, bounds[1:], strict=True):
        entry = entries[index]
        start = data_start(file, entry)
        data_end = start + entry.packed
        if data_end > next_start:
            raise damaged("its members overlap")
        if not is_descriptor(file, entry, data_end, next_start - data_end):
            raise damaged("there is something hidden between its members")
        starts[index] = start
    return starts
