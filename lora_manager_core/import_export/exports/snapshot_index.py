"""What goes into one archive, kept on the disk: texts, files to copy, and what was left out.

There may be hundreds of thousands of each; in memory is only what is being looked at.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_manager_core.import_export.archive.format import LeftOut, Member
from lora_manager_core.import_export.archive.zip_writer import PIECE_BYTES
from lora_manager_core.import_export.exports.source_files import SourceFile

_TABLES = """
CREATE TABLE texts (part INTEGER, number INTEGER, name TEXT, place INTEGER, size INTEGER,
                    sha256 TEXT, PRIMARY KEY (part, number)) WITHOUT ROWID;
CREATE TABLE files (number INTEGER PRIMARY KEY, name TEXT, path TEXT, key TEXT UNIQUE,
                    size INTEGER, mtime_ns INTEGER, inode TEXT);
CREATE TABLE left_out (number INTEGER PRIMARY KEY, name TEXT, reason TEXT, adapter_id TEXT);
"""


class SnapshotIndex:
    """The members of an archive in the making; used by one thread, closed at its end."""

    def __init__(self, scratch: Path) -> None:
        self._spool = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - closed by `close`
        # No name: a database in a temporary file, which goes with the connection.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA cache_size = -4000")
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")  # for good: nobody else is there, and nothing is to last
        self._count = 0
        self._end = 0
        #: Of all members but the manifest.
        self.content_bytes = 0

    def close(self) -> None:
        """Give the disk back."""
        self._database.close()
        self._spool.close()

    @contextmanager
    def text(self, part: int, name: str) -> Iterator[Callable[[bytes], None]]:
        """Add a text member by writing it; members of lower parts come first."""
        digest, start = hashlib.sha256(), self._end

        def _write(piece: bytes) -> None:
            self._end += self._spool.write(piece)
            digest.update(piece)

        yield _write
        self._count += 1
        self.content_bytes += self._end - start
        self._database.execute(
            "INSERT INTO texts VALUES (?, ?, ?, ?, ?, ?)",
            (part, self._count, name, start, self._end - start, digest.hexdigest()),
        )

    def add_text(self, part: int, name: str, content: bytes) -> None:
        """Add a text member."""
        with self.text(part, name) as write:
            write(content)

    def add_file(self, name: str, source: SourceFile, *, shared: bool = True) -> str:
        """Add a file to copy; gives the name of its member, an earlier one if it has one.

        One that is not `shared` has a member of its own in any case.
        """
        key = os.path.normcase(source.path) if shared else None
        added = self._database.execute(
            "INSERT OR IGNORE INTO files (name, path, key, size, mtime_ns, inode) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            # Numbers of files may have 64 bits without a sign, and more on Windows.
            (name, source.path, key, source.size, source.mtime_ns, str(source.number)),
        )
        if added.rowcount:
            self.content_bytes += source.size
            return name
        known = self._database.execute("SELECT name FROM files WHERE key = ?", (key,)).fetchone()
        return str(known[0])

    def leave_out(self, left: LeftOut) -> None:
        """Note something that was chosen and is not to be had."""
        self._database.execute(
            "INSERT INTO left_out (name, reason, adapter_id) VALUES (?, ?, ?)",
            (left.name, left.reason, left.adapter_id),
        )

    def members(self) -> Iterator[Member]:
        """All members in their order; files without a hash."""
        texts = "SELECT name, size, sha256 FROM texts ORDER BY part, number"
        for name, size, sha256 in self._database.execute(texts):
            yield Member(name, size, sha256)
        for name, size in self._database.execute("SELECT name, size FROM files ORDER BY number"):
            yield Member(name, size)

    def texts(self) -> Iterator[tuple[str, int, Iterable[bytes]]]:
        """Name, size and content of the texts; the content is to be read before the next one."""
        query = "SELECT name, place, size FROM texts ORDER BY part, number"
        for name, place, size in self._database.execute(query):
            yield name, size, self._content(place, size)

    def files(self) -> Iterator[tuple[str, SourceFile]]:
        """The files to copy, by the name of their member."""
        query = "SELECT name, path, size, mtime_ns, inode FROM files ORDER BY number"
        for name, path, size, mtime_ns, inode in self._database.execute(query):
            yield name, SourceFile(path, size, mtime_ns, int(inode))

    def left_out(self) -> Iterator[LeftOut]:
        """What was left out."""
        query = "SELECT name, reason, adapter_id FROM left_out ORDER BY number"
        for name, reason, adapter_id in self._database.execute(query):
            yield LeftOut(name, reason, adapter_id)

    def count_left_out(self) -> int:
        """How much was left out."""
        return int(self._database.execute("SELECT count(*) FROM left_out").fetchone()[0])

    def _content(self, place: int, size: int) -> Iterator[bytes]:
        self._spool.seek(place)
        while size:
            piece = self._spool.read(min(PIECE_BYTES, size))
            size -= len(piece)
            yield piece
