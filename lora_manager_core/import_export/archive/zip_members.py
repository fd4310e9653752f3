"""Reads the members of a ZIP whose structure was checked, in pieces, never more than promised."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lora_manager_core.errors import (
    ArchiveRefused,
    ExtraNotInstalled,
    PasswordNeeded,
    WrongPassword,
)
from lora_manager_core.import_export.archive.zip_records import damaged
from lora_manager_core.import_export.archive.zip_structure import Member, read_structure
from lora_manager_core.library.files.names import shown

PIECE_BYTES = 2**20
_READ_BYTES = 2**18
_MAC_BYTES = 10


class ZipMembers:
    """An open ZIP. For one thread at a time.

    Raises:
        ArchiveRefused: the file is no ZIP that can be trusted (`zip_structure`).
        PasswordNeeded: it is encrypted and no password was given.
        WrongPassword: the password does not fit.
        ExtraNotInstalled: it is encrypted and the library for that is missing.
        OSError: the file cannot be read.
    """

    def __init__(self, path: Path, password: str | None) -> None:
        self._file = path.open("rb")
        try:
            self.size_bytes = self._file.seek(0, 2)
            self.members: Mapping[str, Member] = read_structure(self._file, self.size_bytes)
            self._password = (password or "").encode(errors="replace")
            self._cipher: Any = None
            first = next(iter(self.members.values()), None)
            if first is not None and first.aes:
                self._open_encrypted(first)
        except BaseException:
            self._file.close()
            raise

    @property
    def encrypted(self) -> bool:
        """Whether a password was needed."""
        return self._cipher is not None

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def pieces(self, name: str) -> Iterator[bytes]:
        """The contents of a member, in pieces of at most `PIECE_BYTES`.

        Raises:
            ArchiveRefused: they are not what the directory promised; after the last piece at the
                latest, so what came is to be thrown away then.
        """
        member = self.members[name]
        left, crc = member.size, 0
        unpacked = self._inflated(member) if member.deflated else self._packed(member)
        for piece in unpacked:
            if len(piece) > left:
                raise damaged(f"“{shown(name)}” is larger than it says")
            left -= len(piece)
            crc = zlib.crc32(piece, crc)
            yield piece
        if left:
            raise damaged(f"“{shown(name)}” is smaller than it says")
        if member.crc is not None and member.crc != crc:
            raise damaged(f"the checksum of “{shown(name)}” is wrong")

    def read(self, name: str, limit: int) -> bytes:
        """The whole of a small member; refused above `limit` bytes."""
        self.require_small(name, limit)
        return b"".join(self.pieces(name))

    def require_small(self, name: str, limit: int) -> None:
        """Refuse a member of more than `limit` bytes."""
        if self.members[name].size > limit:
            raise ArchiveRefused(
                f"The archive is refused: “{shown(name)}” is larger than {limit:,} bytes."
            )

    def read_json(self, name: str, limit: int) -> Any:
        """A small member as JSON, of finite numbers and valid texts only."""
        return parse_json(self.read(name, limit), shown(name))

    def _open_encrypted(self, first: Member) -> None:
        if not self._password:
            raise PasswordNeeded("The archive is encrypted; give its password.")
        try:
            from pyzipper.zipfile_aes import AESZipDecrypter
        except ImportError as error:
            raise ExtraNotInstalled(
                "Encrypted archives need the library pyzipper, which is not installed: "
                "`pip install pyzipper`, or unpack the archive elsewhere and pack it without a "
                "password."
            ) from error
        self._cipher = AESZipDecrypter
        if self._decrypter(first) is None:
            raise WrongPassword("The password does not open the archive.")

    def _decrypter(self, member: Member) -> Any:
        """What decrypts the bytes that follow; None if the password does not fit."""

        class _Info:
            filename = member.name
            wz_aes_strength = member.aes

        self._file.seek(member.start)
        header = self._file.read(4 + 4 * member.aes + 2)
        try:
            return self._cipher(_Info, self._password, header)
        except RuntimeError:
            return None

    def _packed(self, member: Member) -> Iterator[bytes]:
        """The bytes as they are packed, decrypted."""
        start, left = member.start, member.packed
        decrypter = None
        if member.aes:
            decrypter = self._decrypter(member)
            if decrypter is None:
                raise damaged(f"“{shown(member.name)}” has another password than the rest")
            header = 4 + 4 * member.aes + 2
            start, left = start + header, left - header - _MAC_BYTES
        while left:
            # Another member may have been read since the last piece.
            self._file.seek(start)
            piece = self._file.read(min(_READ_BYTES, left))
            if not piece:
                raise damaged("it became shorter while it was read")
            start, left = start + len(piece), left - len(piece)
            yield piece if decrypter is None else decrypter.decrypt(piece)
        if decrypter is not None:
            self._file.seek(start)
            mac = self._file.read(_MAC_BYTES)
            if decrypter.hmac.digest()[:_MAC_BYTES] != mac:
                raise damaged(f"the encrypted contents of “{shown(member.name)}” were changed")

    def _inflated(self, member: Member) -> Iterator[bytes]:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for packed in self._packed(member):
                while packed:
                    piece = inflater.decompress(packed, PIECE_BYTES)
                    if piece:
                        yield piece
                    if inflater.unused_data:
                        raise damaged(f"“{shown(member.name)}” has something behind its end")
                    packed = inflater.unconsumed_tail
            while not inflater.eof:
                piece = inflater.decompress(b"", PIECE_BYTES)
                if not piece:
                    break
                yield piece
        except zlib.error as error:
            raise damaged(f"“{shown(member.name)}” cannot be unpacked") from error
        if not inflater.eof:
            raise damaged(f"“{shown(member.name)}” ends too early")


def lines_of(pieces: Iterable[bytes], limit: int, what: str) -> Iterator[bytes]:
    """Lines without their ends, none longer than `limit` bytes; empty ones are left out."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > limit or any(len(line) > limit for line in lines):
            raise ArchiveRefused(
                f"The archive is refused: {what} has a line of over {limit:,} bytes."
            )
        yield from filter(None, lines)
    if rest:
        yield rest


def parse_json(raw: bytes, what: str) -> Any:
    """JSON of finite numbers and valid texts, not nested too deeply; `what` it is, for people."""
    try:
        return orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError, MemoryError) as error:
        why = getattr(error, "msg", "nested too deeply or too large")
        raise damaged(f"{what} is not valid JSON ({why})") from error
