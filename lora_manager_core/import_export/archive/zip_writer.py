"""Writes a ZIP to whatever takes bytes, in one pass and in little memory, however many members.

The bytes are the work of the standard library's `zipfile`, or of `pyzipper` for encrypted archives.
Both keep a description of every member until the end; here those wait in a file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import queue
import stat
import struct
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lora_manager_core.errors import ExtraNotInstalled

#: What is handed on at once, about.
PIECE_BYTES = 2**20
#: Smaller pieces are gathered, larger ones handed on as they are.
_GATHERED_BYTES = 2**18
_PIECES_WAITING = 4
#: Beyond this many bytes a member needs ZIP64; deflate and encryption may add a little.
_LARGE_BYTES = 2**31 - 2**24
_PLAIN_FILE = (stat.S_IFREG | 0o644) << 16
#: Levels of deflate; None: stored.
LEVELS: dict[str, int | None] = {"none": None, "fast": 1, "balanced": 6, "maximum": 9}


#: What is to be hashed: a digest, a piece for it, and at its end who wants to know it.
_Hashed = tuple[Any, bytes, Callable[[str], None] | None]


class ZipWriter:
    """One archive in the making. End it with `close`, or with `abort`, which leaves it without end.

    `write` gets pieces of about a mebibyte. `scratch` is a folder for a temporary file. `level` is
    what texts are deflated with, None: not at all.

    Raises:
        ExtraNotInstalled: a password was given, and the library that encrypts is not there.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        scratch: Path,
        level: int | None = 6,
        password: str | None = None,
    ) -> None:
        self._sink = _Sink(write)
        self._level = level
        self._hasher = _Hasher()
        if password is None:
            self._zip: Any = zipfile.ZipFile(self._sink, "w")  # type: ignore[call-overload]
            self._info: type[zipfile.ZipInfo] = zipfile.ZipInfo
        else:
            self._zip, self._info = _encrypting(self._sink, password)
        self._infos = _PackedInfos(self._info, scratch)
        self._zip.filelist = self._infos
        self._zip.NameToInfo = _NoNames()

    @contextmanager
    def member(
        self,
        name: str,
        size: int | None = None,
        *,
        stored: bool = False,
        mtime_ns: int = 0,
        on_hash: Callable[[str], None] | None = None,
    ) -> Iterator[Callable[[bytes], None]]:
        """Write one member by calling what is given, best with pieces of `PIECE_BYTES`.

        `size` is what it will come to, None where nobody knows yet. `on_hash` gets its SHA-256 in
        lower-case hex, in another thread and in the order of the members, by the time that
        `wait_for_hashes` returns. Names are the caller's to keep apart.
        """
        info = self._info(name, _dos_time(mtime_ns or time.time_ns()))
        info.external_attr = _PLAIN_FILE
        info.file_size = size or 0
        if not stored and self._level is not None:
            info.compress_type = zipfile.ZIP_DEFLATED
            info._compresslevel = self._level  # type: ignore[attr-defined]
        large = size is None or size > _LARGE_BYTES
        handle = self._zip.open(info, "w", force_zip64=large)
        digest = hashlib.sha256() if on_hash is not None else None

        def _write(piece: bytes) -> None:
            if digest is not None:
                self._hasher.update(digest, piece)
            handle.write(piece)

        try:
            yield handle.write if digest is None else _write
        except BaseException:
            self._sink.drop()
            raise
        finally:
            handle.close()
        if digest is not None and on_hash is not None:
            self._hasher.end(digest, on_hash)

    def wait_for_hashes(self) -> None:
        """Block until every `on_hash` so far was called."""
        self._hasher.wait()

    def flush(self) -> None:
        """Hand on what was gathered."""
        self._sink.hand_on()

    def close(self) -> None:
        """Write the directory of the archive: now it is whole."""
        self._zip.close()
        self._sink.hand_on()
        self._free()

    def abort(self) -> None:
        """Stop without an end, so that nobody takes the archive for a whole one."""
        self._sink.drop()
        self._infos.clear()
        self._zip.close()
        self._free()

    def _free(self) -> None:
        self._hasher.close()
        self._infos.close()


def require_encryption() -> None:
    """Raise `ExtraNotInstalled` where archives cannot be encrypted."""
    if importlib.util.find_spec("pyzipper") is None:
        raise ExtraNotInstalled(
            "Encrypted archives need the library pyzipper, which is not installed: "
            "`pip install pyzipper`, or ask for the archive without a password."
        )


def _encrypting(sink: _Sink, password: str) -> tuple[Any, type[zipfile.ZipInfo]]:
    """A writer of AES-256 in the form of WinZip (AE-2), which 7-Zip opens."""
    require_encryption()
    import pyzipper

    archive = pyzipper.AESZipFile(sink, "w", encryption=pyzipper.WZ_AES)
    archive.setpassword(password.encode())
    return archive, pyzipper.zipfile_aes.AESZipInfo


def _dos_time(mtime_ns: int) -> tuple[int, int, int, int, int, int]:
    moment = time.localtime(max(0, mtime_ns // 10**9))[:6]
    if moment[0] < 1980:
        return (1980, 1, 1, 0, 0, 0)
    if moment[0] > 2107:
        return (2107, 12, 31, 23, 59, 58)
    return moment


class _Sink:
    """A file for `zipfile` that cannot seek; gathers small pieces."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._gathered: list[bytes] = []
        self._size = 0
        self._dropping = False

    def write(self, piece: bytes) -> int:
        if self._dropping:
            return len(piece)
        if len(piece) >= _GATHERED_BYTES:
            self.hand_on()
            self._write(piece)
        else:
            self._gathered.append(piece)
            self._size += len(piece)
            if self._size >= PIECE_BYTES:
                self.hand_on()
        return len(piece)

    def flush(self) -> None:
        """What `zipfile` asks for at the end."""

    def hand_on(self) -> None:
        gathered, self._gathered, self._size = self._gathered, [], 0
        if gathered and not self._dropping:
            self._write(b"".join(gathered))

    def drop(self) -> None:
        """Lose whatever still comes."""
        self._dropping = True


class _Hasher:
    """Hashes in a thread of its own, beside the CRC: neither needs the interpreter.

    Pieces are handed over by the mebibyte, so that small files do not cost a hand-over each.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[list[_Hashed] | None] = queue.Queue(_PIECES_WAITING)
        self._gathered: list[_Hashed] = []
        self._size = 0
        self._thread: threading.Thread | None = None

    def update(self, digest: Any, piece: bytes) -> None:
        self._gathered.append((digest, piece, None))
        self._size += len(piece)
        if self._size >= PIECE_BYTES:
            self._hand_over()

    def end(self, digest: Any, on_hash: Callable[[str], None]) -> None:
        self._gathered.append((digest, b"", on_hash))

    def wait(self) -> None:
        if self._gathered:
            self._hand_over()
        self._waiting.join()

    def close(self) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _hand_over(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="archive-hash", daemon=True)
            self._thread.start()
        gathered, self._gathered, self._size = self._gathered, [], 0
        self._waiting.put(gathered)

    def _work(self) -> None:
        while (gathered := self._waiting.get()) is not None:
            for digest, piece, on_hash in gathered:
                digest.update(piece)
                if on_hash is not None:
                    on_hash(digest.hexdigest())
            del gathered, piece  # until the next ones come
            self._waiting.task_done()


class _NoNames(dict[str, Any]):
    """Forgets the names that `zipfile` would keep to find one twice."""

    def __setitem__(self, name: str, info: Any) -> None:
        pass


_AES = ("wz_aes_version", "wz_aes_vendor_id", "wz_aes_strength")


class _PackedInfos(list[Any]):
    """The list of members that `zipfile` keeps for the directory at the end; lies in a file."""

    #: Time (6), compression, versions (2), flags, AES (2), attributes, CRC, sizes (2), place, name.
    _ROW = struct.Struct("<HBBBBBHHHHHBIIQQQI")

    def __init__(self, info: type[zipfile.ZipInfo], scratch: Path) -> None:
        super().__init__()
        self._info = info
        self._file = tempfile.TemporaryFile(dir=scratch, buffering=PIECE_BYTES)  # noqa: SIM115
        self._count = 0

    def append(self, info: Any) -> None:
        name = info.filename.encode()
        version, _, strength = (getattr(info, field, None) for field in _AES)
        self._file.write(
            self._ROW.pack(
                *info.date_time,
                info.compress_type,
                info.create_version,
                info.extract_version,
                info.flag_bits,
                version or 0,
                strength or 0,
                info.external_attr,
                info.CRC,
                info.compress_size,
                info.file_size,
                info.header_offset,
                len(name),
            )
            + name
        )
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        for _ in range(self._count):
            row = self._ROW.unpack(self._file.read(self._ROW.size))
            info: Any = self._info(self._file.read(row[-1]).decode(), row[:6])
            info.compress_type, info.create_version, info.extract_version = row[6:9]
            info.flag_bits = row[9]
            if row[10]:
                info.wz_aes_version, info.wz_aes_strength = row[10:12]
                info.wz_aes_vendor_id = b"AE"
            info.external_attr, info.CRC, info.compress_size, info.file_size = row[12:16]
            info.header_offset = row[16]
            yield info

    def clear(self) -> None:
        self._count = 0

    def close(self) -> None:
        self._file.close()
