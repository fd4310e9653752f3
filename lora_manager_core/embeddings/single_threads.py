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


def parts_alike(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Numbers of texts in at most so many parts, the longest of which takes the least there is.

    A part takes what its longest text takes, for each of its texts: all are padded to that. Six
    texts of a prompt, one of them all others together, take 33 ms instead of 47 in two threads.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    low, high = 1, len(lengths) * max(1, *lengths)
    while low < high:
        limit = (low + high) // 2
        if len(_parts_within(order, lengths, limit)) <= most:
            high = limit
        else:
            low = limit + 1
    return _parts_within(order, lengths, low)


def _parts_within(order: Sequence[int], lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Runs of texts, the longest first, each filled as long as it takes no more than the limit."""
    parts: list[list[int]] = []
    for index in order:
        if parts and (len(parts[-1]) + 1) * lengths[parts[-1][0]] <= limit:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts
