"""Hashes many files at once, in threads: hashing and reading leave the interpreter to others."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lora_manager_core.common.low_priority import lower_this_thread
from lora_manager_core.library.hashing.digest import FileChanged, FileHashes, hash_file
from lora_manager_core.library.hashing.known import HashableFile
from lora_manager_core.queueing.base import JobCancelled

#: More than a disk can serve; half of the processors are left to others.
_MOST_THREADS = 4
#: Small files go to a thread together, up to so many and so many bytes.
_LOT_FILES = 32
_LOT_BYTES = 16 << 20
#: Somebody has the file open for himself: on Windows whoever is still copying it.
_SHARING_VIOLATIONS = (32, 33)

#: Waits for a turn; raises `JobCancelled` if it is to end.
Wait = Callable[[], None]


@dataclass(frozen=True, slots=True)
class HashedFile:
    """What came of one file: hashes, or a problem, or neither if it is not to be hashed now."""

    file: HashableFile
    hashes: FileHashes | None = None
    problem: str | None = None


class HashWorkers:
    """Threads of low priority. `read` counts the bytes that were hashed so far."""

    def __init__(self, wait_for_turn: Wait, threads: int | None = None) -> None:
        """`threads` None: half of the processors, at most four."""
        self._wait_for_turn = wait_for_turn
        self._threads = threads or default_threads()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self.read = 0

    def results(self, files: Sequence[HashableFile]) -> Generator[list[HashedFile], None, None]:
        """What came of the files, some at a time, as they are done.

        What waiting raises ends it; so does closing it, within one piece of a file.
        """
        with ExitStack() as stack:
            pool = ThreadPoolExecutor(self._threads, "hashing", initializer=lower_this_thread)
            stack.callback(pool.shutdown, cancel_futures=True)
            stack.callback(self._stopped.set)
            waiting: set[Future[list[HashedFile]]] = set()
            for lot in _lots(files):
                waiting.add(pool.submit(self._hash, lot))
                if len(waiting) > self._threads:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()

    def _hash(self, lot: Sequence[HashableFile]) -> list[HashedFile]:
        return [hash_one(file, self._before_piece) for file in lot]

    def _before_piece(self, count: int) -> None:
        with self._lock:
            self.read += count
        if self._stopped.is_set():
            raise JobCancelled
        self._wait_for_turn()


def default_threads() -> int:
    """How many threads hash at once unless somebody says otherwise."""
    return min(_MOST_THREADS, max(1, (os.cpu_count() or 2) // 2))


def hash_one(
    file: HashableFile, before_piece: Callable[[int], None] = lambda _: None
) -> HashedFile:
    """What comes of one file; never raises for the file's sake."""
    try:
        hashes = hash_file(Path(file.path), file.size, file.mtime_ns, before_piece)
    except (FileChanged, FileNotFoundError, NotADirectoryError):
        return HashedFile(file)  # the next scan says what it is now
    except OSError as error:
        if getattr(error, "winerror", None) in _SHARING_VIOLATIONS:
            return HashedFile(file)
        return HashedFile(file, problem=_in_words(error))
    return HashedFile(file, hashes)


def _in_words(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "The file cannot be read; give this user the right to read it."
    if error.errno == errno.EIO:
        return "The disk cannot read the file; check the disk, and put a copy in its place."
    return f"The file cannot be read: {error.strerror or error}."


def _lots(files: Sequence[HashableFile]) -> Iterator[list[HashableFile]]:
    lot: list[HashableFile] = []
    size = 0
    for file in files:
        if lot and (len(lot) == _LOT_FILES or size + file.size > _LOT_BYTES):
            yield lot
            lot, size = [], 0
        lot.append(file)
        size += file.size
    if lot:
        yield lot
