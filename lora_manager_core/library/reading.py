"""Reads many files at once: helper processes for a large scan, this process for a small one.

Reading is work for the interpreter, which threads would only share. Where no helper can be had,
this process reads.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import orjson

from lora_manager_core.common.helper_process import HelperProcess
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.walk import FoundFile, as_fields

_log = logging.getLogger(__name__)

#: Files from which on the start of helpers (some 0.3 s) is worth it.
_WORTH_HELPERS = 1000
_MOST_HELPERS = 4
_PROCESS = "lora_manager_core.library.reading_process"


class FileReaders:
    """Use it in a `with`; `batches` gives the columns of each batch, in order."""

    def __init__(self, files: int, helpers: int | None = None) -> None:
        cores = os.cpu_count() or 1
        wanted = min(_MOST_HELPERS, cores - 1) if files >= _WORTH_HELPERS else 0
        self._wanted = wanted if helpers is None else helpers
        self._helpers: list[HelperProcess] = []
        self._stack = ExitStack()

    def __enter__(self) -> FileReaders:
        for _ in range(self._wanted):
            try:
                self._helpers.append(self._stack.enter_context(HelperProcess(_PROCESS)))
            except OSError as error:
                _log.warning("no helper process to read files (%s); reading here", error)
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def batches(self, batches: Sequence[Sequence[FoundFile]]) -> Iterator[list[dict[str, Any]]]:
        """The columns of every file, batch by batch; each helper is one batch ahead."""
        waiting = deque(batches)
        asked: deque[tuple[HelperProcess, Sequence[FoundFile]]] = deque()
        for helper in self._helpers:
            if waiting:
                asked.append((helper, _ask(helper, waiting.popleft())))
        while asked:
            helper, batch = asked.popleft()
            rows = _answer(helper)
            if rows is not None and waiting:
                asked.append((helper, _ask(helper, waiting.popleft())))
            yield _read_here(batch) if rows is None else rows
        while waiting:
            yield _read_here(waiting.popleft())


def _ask(helper: HelperProcess, batch: Sequence[FoundFile]) -> Sequence[FoundFile]:
    """Send a batch; gives it back."""
    helper.ask(orjson.dumps([as_fields(found) for found in batch]))
    return batch


def _answer(helper: HelperProcess) -> list[dict[str, Any]] | None:
    """What came of the batch; None if the helper is of no use any more."""
    line = helper.answer()
    if line is None:
        _log.warning("a helper process ended early; reading its files here")
        return None
    rows: list[dict[str, Any]] = orjson.loads(line)
    return rows


def _read_here(batch: Sequence[FoundFile]) -> list[dict[str, Any]]:
    return [columns_from_file(found) for found in batch]
