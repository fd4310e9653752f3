"""Sketches many files at once: helper processes of one thread each, or this process for a few.

One thread per file is the quickest (two that share a file's products were up to seven times
slower), and a process of its own can be given a low priority and one thread without changing
anything for the process that makes pictures.
"""

from __future__ import annotations

import logging
import os
import queue
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import orjson

from lora_manager_core.common.helper_process import HelperProcess

_log = logging.getLogger(__name__)

#: Files from which on the start of a helper (some 0.3 s) is worth it.
_WORTH_HELPERS = 8
_MOST_HELPERS = 4
_PROCESS = "lora_manager_core.weights.sketching_process"
#: One thread in each of the libraries that numpy may be built with.
ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
_DIED = "reading its weights ended the process that did it, perhaps for lack of memory"

#: Waits for its turn, and lasts as long as one file takes.
Turn = Callable[[], AbstractContextManager[None]]


class SketchWorkers:
    """Use it in a `with`, which ends the helpers."""

    def __init__(self, files: int, helpers: int | None = None) -> None:
        """`helpers` None: as many as are worth it for so many files, half of the processors."""
        wanted = helpers
        if wanted is None:
            half = max(1, (os.cpu_count() or 2) // 2)
            wanted = min(_MOST_HELPERS, half) if files >= _WORTH_HELPERS else 0
        self._wanted = wanted
        self._stack = ExitStack()
        self._helpers: list[_Helper] = []

    def __enter__(self) -> SketchWorkers:
        try:
            for _ in range(self._wanted):
                self._helpers.append(self._stack.enter_context(_Helper()))
        except OSError as error:
            _log.warning("no helper process for weights (%s); reading here", error)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def rows(
        self, paths: Sequence[str], turn: Turn
    ) -> Generator[tuple[int, dict[str, Any]], None, None]:
        """Place in `paths` and `sketch_row` of each file, as they are done.

        What `turn` raises ends it.
        """
        if not self._helpers:
            yield from self._rows_here(paths, turn)
            return
        idle: queue.SimpleQueue[_Helper] = queue.SimpleQueue()
        for helper in self._helpers:
            idle.put(helper)

        def one(path: str) -> dict[str, Any]:
            helper = idle.get()
            try:
                with turn():
                    return helper.row(path)
            finally:
                idle.put(helper)

        with ExitStack() as stack:
            pool = ThreadPoolExecutor(len(self._helpers), "weights")
            stack.callback(pool.shutdown, cancel_futures=True)
            for helper in self._helpers:  # if it ends early, nobody waits for a file
                stack.callback(helper.stop)
            waiting: dict[Future[dict[str, Any]], int] = {}
            left = iter(enumerate(paths))
            while True:
                while len(waiting) <= len(self._helpers):
                    place, path = next(left, (-1, ""))
                    if place < 0:
                        break
                    waiting[pool.submit(one, path)] = place
                if not waiting:
                    break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    place = waiting.pop(future)
                    yield place, future.result()
            stack.pop_all()
            pool.shutdown()

    def _rows_here(
        self, paths: Sequence[str], turn: Turn
    ) -> Generator[tuple[int, dict[str, Any]], None, None]:
        from lora_manager_core.weights.row import sketch_row

        for place, path in enumerate(paths):
            with turn():
                row = sketch_row(path)
            yield place, row


class _Helper:
    """One process, begun again if a file was too much for it."""

    def __init__(self) -> None:
        self._process = HelperProcess(_PROCESS, ONE_THREAD)
        self._stopped = False

    def __enter__(self) -> _Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__()

    def stop(self) -> None:
        """End it for good; whoever waits for a row gets a useless one. From any thread."""
        self._stopped = True
        self._process.kill()

    def row(self, path: str) -> dict[str, Any]:
        """What came of a file; a problem if the process died of it, also a new one."""
        for _ in range(2):
            self._process.ask(orjson.dumps(path))
            answer = self._process.answer()
            if answer is not None:
                row: dict[str, Any] = orjson.loads(answer)
                return row
            if self._stopped:
                break
            _log.warning("the helper process ended early at %s", path)
            self._process.__exit__()
            self._process = HelperProcess(_PROCESS, ONE_THREAD)
        return {"problem": _DIED}
