"""Turns a function that writes into an iterator of what it writes, a few pieces ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

#: Pieces made ahead of who takes them; more would only cost memory.
_AHEAD = 4
#: How often who waits for a piece looks whether the stream was closed by another thread.
_LOOK_S = 0.5


class StreamClosed(Exception):
    """Raised in the writing function once nobody takes its pieces any more."""


class PieceStream(Iterator[bytes]):
    """Runs `produce(write)` in a thread and gives what it writes; what it raises is raised here.

    Close it, best by `closing`: the thread has ended then, whether all was taken or not. Nothing
    runs before the first piece is asked for.
    """

    def __init__(self, produce: Callable[[Callable[[bytes], None]], None]) -> None:
        self._produce = produce
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __next__(self) -> bytes:
        if self._closed.is_set():
            raise StopIteration
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="archive-stream", daemon=True)
            self._thread.start()
        piece = self._take()
        if piece is not None:
            return piece
        self.close()
        if self._failure is not None:
            raise self._failure
        raise StopIteration

    def stop(self) -> None:
        """Stop the writing function at its next piece, without waiting for it."""
        self._closed.set()

    def close(self) -> None:
        """Stop the writing function at its next piece and wait for it; may be repeated."""
        self._closed.set()
        if self._thread is None:
            return
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._pieces.get(timeout=0.01)

    def check(self) -> None:
        """For the writing function, where it writes nothing for long: raises `StreamClosed`."""
        if self._closed.is_set():
            raise StreamClosed

    def _take(self) -> bytes | None:
        while not self._closed.is_set():  # by another thread perhaps, which takes what is left
            with suppress(queue.Empty):
                return self._pieces.get(timeout=_LOOK_S)
        return None

    def _write(self, piece: bytes) -> None:
        self.check()
        self._pieces.put(piece)
        self.check()

    def _run(self) -> None:
        try:
            self._produce(self._write)
        except StreamClosed:
            pass
        except BaseException as failure:  # noqa: BLE001 - raised again where the pieces are taken
            self._failure = failure
        self._pieces.put(None)
