"""Threads in each of which torch computes alone, for small work on a busy machine.

torch splits every operation among all cores and waits for the slowest part. Where other programs,
or pictures, keep a core busy, a query took 1 s in two threads and 20 ms in one (an experiment of
this project); so several texts are computed side by side instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class SingleThreads:
    """A pool of such threads, begun with the first work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._count = 0

    @property
    def count(self) -> int:
        """How many work side by side: as many as torch would take for one operation."""
        self._begun()
        return self._count

    def map(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """What the function gives for each, in order; raises what it raises."""
        return list(self._begun().map(function, items))

    def close(self) -> None:
        """End the threads once they have done what they are at; the next work begins new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _begun(self) -> ThreadPoolExecutor:
        import torch

        with self._lock:
            if self._pool is None:
                self._count = max(1, torch.get_num_threads())
                self._pool = ThreadPoolExecutor(self._count, self._name, compute_alone)
            return self._pool


def compute_alone() -> None:
    """Have torch use this thread alone for what is asked of it in this thread.

    `torch.set_num_threads` holds for the thread that calls it and for all that have not computed
    yet, so the latter are given back their number by a thread that does nothing else.
    """
    import torch

    others = torch.get_num_threads()
    torch.set_num_threads(1)
    giver = threading.Thread(target=torch.set_num_threads, args=(others,))
    giver.start()
    giver.join()
