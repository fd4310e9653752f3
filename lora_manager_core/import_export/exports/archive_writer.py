"""Makes archives: takes a snapshot and writes it as `format` says, to a file or as a stream."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import orjson

from lora_manager_core.common.files import remove_leftovers
from lora_manager_core.import_export.archive.format import (
    HASHES,
    MANIFEST,
    LeftOut,
    Manifest,
    Member,
)
from lora_manager_core.import_export.archive.zip_writer import LEVELS, PIECE_BYTES, ZipWriter
from lora_manager_core.import_export.exports.choice import Choice
from lora_manager_core.import_export.exports.piece_stream import PieceStream
from lora_manager_core.import_export.exports.snapshot import Snapshot, Snapshots
from lora_manager_core.import_export.exports.snapshot_index import SnapshotIndex
from lora_manager_core.import_export.exports.source_files import SourceFile, read_unchanged
from lora_manager_core.import_export.room import require_room
from lora_manager_core.queueing.base import JobContext, JobProgress

#: What is left out is told of in the manifest, all of it; elsewhere only so many.
_TOLD = 100
_REPORT_INTERVAL_S = 0.25


@dataclass(frozen=True, slots=True)
class Written:
    """An archive that was made; the first of what was left out, and how many there were."""

    manifest: Manifest
    size_bytes: int
    content_bytes: int
    left_out: tuple[LeftOut, ...]
    left_out_count: int


class ArchiveStream(PieceStream):
    """The pieces of an archive as it is made; close it. `written` is there once all were taken.

    `content_bytes` is how much goes into it, None until that is known; `done_bytes` how much did.
    """

    def __init__(self, writer: ArchiveWriter, choice: Choice, password: str | None) -> None:
        super().__init__(lambda write: writer.make(self, choice, write, password))
        self.content_bytes: int | None = None
        self.done_bytes = 0
        self.size_bytes = 0
        self.written: Written | None = None

    @property
    def fraction(self) -> float:
        """How much of it is made, 0..1."""
        return self.done_bytes / self.content_bytes if self.content_bytes else 0.0


class ArchiveWriter:
    """Makes archives of one installation."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    def stream(self, choice: Choice, password: str | None = None) -> ArchiveStream:
        """The archive as an iterator of pieces of about a mebibyte; nothing runs before the first.

        The first comes at once, before the snapshot is taken. What fails is raised by the iterator,
        and the pieces so far have no valid end.
        """
        return ArchiveStream(self, choice, password)

    def write(
        self,
        choice: Choice,
        sink: IO[bytes],
        context: JobContext | None = None,
        password: str | None = None,
        folder: Path | None = None,
    ) -> Written:
        """Write the archive, from where `sink` stands; `context` is told how far it is.

        With `folder`, the one that `sink` lies in, nothing much is written where it would not fit.

        Raises:
            DiskFull: it would not fit; the message says how much is needed.
            ExtraNotInstalled: there is a password, and what encrypts is not installed.
            StorageFailed: a file changed meanwhile or cannot be read.
            OSError: `sink` cannot be written.
            JobCancelled: `context` is to stop.
        """
        with closing(self.stream(choice, password)) as stream:
            progress = ProgressOf(stream)
            for piece in stream:
                if folder is not None and stream.content_bytes is not None:
                    require_room(folder, stream.content_bytes)
                    folder = None
                sink.write(piece)
                if context is not None:
                    context.raise_if_cancelled()
                    if (due := progress.due()) is not None:
                        context.report(due)
        assert stream.written is not None
        return stream.written

    def remove_leftovers(self) -> None:
        """Remove what a dead process left in the making."""
        remove_leftovers(self._snapshots.scratch)

    def make(
        self,
        stream: ArchiveStream,
        choice: Choice,
        write: Callable[[bytes], None],
        password: str | None,
    ) -> None:
        """Make the archive of a stream, in the thread of that."""

        def _counted(piece: bytes) -> None:
            stream.size_bytes += len(piece)
            write(piece)

        scratch = self._snapshots.scratch
        scratch.mkdir(parents=True, exist_ok=True)
        archive = ZipWriter(_counted, scratch, LEVELS[choice.compression], password)
        with ExitStack() as kept:
            try:
                with archive.member(MANIFEST) as write_text:
                    archive.flush()
                    snapshot = kept.enter_context(self._snapshots.take(choice, stream.check))
                    for piece in _gathered(_manifest(snapshot)):
                        write_text(piece)
                stream.content_bytes = snapshot.index.content_bytes
                # Closed after `abort` only: until then hashes may still be noted in it.
                hashes = kept.enter_context(tempfile.TemporaryFile(dir=scratch))
                _write_members(archive, snapshot.index, stream, hashes)
                archive.close()
            except BaseException:
                archive.abort()
                raise
            told = tuple(islice(snapshot.index.left_out(), _TOLD))
            stream.written = Written(
                snapshot.manifest,
                stream.size_bytes,
                snapshot.index.content_bytes,
                told,
                snapshot.index.count_left_out(),
            )


class ProgressOf:
    """How far a stream is, said now and then."""

    def __init__(self, stream: ArchiveStream) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._said = 0.0

    def due(self) -> JobProgress | None:
        """The progress, if it is time to say it."""
        now, fraction = time.monotonic(), self._stream.fraction
        if now - self._said < _REPORT_INTERVAL_S or not fraction:
            return None
        self._said = now
        eta_s = (now - self._started) * (1 - fraction) / fraction
        done = f"{self._stream.done_bytes // 2**20} of {(self._stream.content_bytes or 0) // 2**20}"
        return JobProgress(fraction, eta_s=round(eta_s, 1), message=f"{done} MiB")


def _write_members(
    archive: ZipWriter, index: SnapshotIndex, stream: ArchiveStream, hashes: IO[bytes]
) -> None:
    """Everything behind the manifest; `hashes` is an empty file for those of model files."""
    for name, size, content in index.texts():
        with archive.member(name, size) as write:
            for piece in content:
                write(piece)
        stream.done_bytes += size
    for name, source in index.files():
        _copy_file(archive, name, source, stream, hashes)
    archive.wait_for_hashes()
    hashes.seek(0)
    with archive.member(HASHES) as write:
        lines = (line.rstrip(b"\n") for line in hashes)
        for piece in _gathered(_joined(b'{"members":{', lines, b"}}\n")):
            write(piece)


def _copy_file(
    archive: ZipWriter, name: str, source: SourceFile, stream: ArchiveStream, hashes: IO[bytes]
) -> None:
    """Copy a file into the archive as it is; a line with its SHA-256 goes to `hashes`."""

    def _note(sha256: str) -> None:
        hashes.write(orjson.dumps(name) + b':"' + sha256.encode() + b'"\n')

    with archive.member(
        name, source.size, stored=True, mtime_ns=source.mtime_ns, on_hash=_note
    ) as write:

        def _take(piece: bytes) -> None:
            write(piece)
            stream.done_bytes += len(piece)

        read_unchanged(source, _take)


def _manifest(snapshot: Snapshot) -> Iterator[bytes]:
    """`manifest.json`: one object, what was left out and the members one a line."""
    head = asdict(snapshot.manifest)
    del head["left_out"]
    left_out = (orjson.dumps(asdict(left)) for left in snapshot.index.left_out())
    members = (orjson.dumps(_listed(member)) for member in snapshot.index.members())
    yield from _joined(orjson.dumps(head)[:-1] + b',"left_out":[', left_out, b"],")
    yield from _joined(b'"members":[', members, b"]}\n")


def _listed(member: Member) -> dict[str, object]:
    return {"name": member.name, "size": member.size, "sha256": member.sha256}


def _joined(start: bytes, lines: Iterable[bytes], end: bytes) -> Iterator[bytes]:
    yield start + b"\n"
    comma = b""
    for line in lines:
        yield comma + line
        comma = b",\n"
    yield b"\n" + end


def _gathered(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth their call."""
    piece = bytearray()
    for part in parts:
        piece += part
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
