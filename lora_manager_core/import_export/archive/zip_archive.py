"""The half of an opened archive that all makers share: copying and verifying its members."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.archive.zip_members import ZipMembers
from lora_manager_core.import_export.archive.zip_records import damaged
from lora_manager_core.library.files.names import shown
from lora_manager_core.library.safetensors_header import HeaderUnreadable, read_header_from


class Digest(Protocol):
    """A hash in the making."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """The hash so far."""


class ZipArchive(Archive):
    """An archive in an open ZIP. Subclasses say what its members mean."""

    def __init__(self, opened: ZipMembers) -> None:
        self._zip = opened
        #: Whether model files are taken that cannot be read.
        self._takes_damaged = False
        self.size_bytes = opened.size_bytes

    def members(self) -> Collection[str]:
        """The names of all members."""
        return self._zip.members.keys()

    def copy(self, member: str, target: Path, on_bytes: Callable[[int], None]) -> str:
        """Write a member to a new file, synced, and give its SHA-256; see `Archive.copy`.

        Leaves no file behind when it fails.
        """
        digest = hashlib.sha256()
        file = target.open("xb")
        try:
            with file:
                for piece in self._checked(member, digest):
                    file.write(piece)
                    on_bytes(len(piece))
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                target.unlink(missing_ok=True)
            raise
        return digest.hexdigest()

    def digest(self, member: str, on_bytes: Callable[[int], None]) -> str:
        """Read a member to its end for its SHA-256; see `Archive.digest`."""
        digest = hashlib.sha256()
        for piece in self._checked(member, digest):
            on_bytes(len(piece))
        return digest.hexdigest()

    def verify(self, on_bytes: Callable[[int], None]) -> None:
        """Read every member to its end; see `Archive.verify`."""
        for member in self._zip.members:
            for piece in self._checked(member):
                on_bytes(len(piece))

    def close(self) -> None:
        """Give the file back."""
        self._zip.close()

    def _promised_sha256(self, member: str) -> str | None:
        """What the archive says of a member's contents, if it does."""
        return None

    def _hashed(self, member: str, digest: Digest | None = None) -> Iterator[bytes]:
        """The contents of a member in pieces; refused at their end if their hash is another.

        `digest` is brought up to date with each piece; without one only what is compared is hashed.
        """
        promised = self._promised_sha256(member)
        if digest is None and promised is not None:
            digest = hashlib.sha256()
        for piece in self._zip.pieces(member):
            if digest is not None:
                digest.update(piece)
            yield piece
        if digest is not None and promised not in (None, digest.hexdigest()):
            raise damaged(f"the contents of “{shown(member)}” are not those that were archived")

    def _checked(self, member: str, digest: Digest | None = None) -> Iterator[bytes]:
        """The same; of a safetensors file the header is read first."""
        pieces = self._hashed(member, digest)
        if self._takes_damaged or not member.lower().endswith(".safetensors"):
            yield from pieces
            return
        file = _PiecesFile(pieces)
        try:
            read_header_from(file, self._zip.members[member].size)
        except HeaderUnreadable as error:
            raise ArchiveRefused(
                f"The archive is refused: “{shown(member)}” is no usable model file: "
                f"{error.reason}."
            ) from error
        yield from file.read_again()


class _PiecesFile:
    """Pieces as something to read from, and to have once more from the beginning."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._read: list[bytes] = []
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            self._rest = next(self._pieces, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        self._read.append(piece)
        return piece

    def read_again(self) -> Iterator[bytes]:
        """Everything, in pieces."""
        yield from filter(None, (*self._read, self._rest))
        self._read.clear()
        yield from self._pieces
