"""Turns outside SD.Next: the best device, and a pause while this process makes pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lora_manager_core.queueing.base import JobCancelled

#: How often it is looked whether the picture is done.
_LOOK_S = 0.1


class LocalTurns:
    """`is_busy` tells whether pictures are made in this process now.

    A picture that begins during a batch goes on beside the rest of it: some tenths of a second.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy

    def device(self, needed_bytes: int) -> str:
        """The accelerator with that much free memory, else `cpu`; imports torch."""
        import torch

        for kind in ("cuda", "xpu"):  # ROCm is `cuda` too
            module = getattr(torch, kind, None)
            if module is None or not module.is_available():
                continue
            try:
                free, _ = module.mem_get_info()
            except RuntimeError:  # the driver does not tell, or the device is lost
                continue
            if free >= needed_bytes:
                return kind
        mps = getattr(torch, "mps", None)
        if torch.backends.mps.is_available() and hasattr(mps, "recommended_max_memory"):
            used, most = torch.mps.driver_allocated_memory(), torch.mps.recommended_max_memory()
            if most - used >= needed_bytes:
                return "mps"
        return "cpu"

    @contextmanager
    def turn(self, device: str, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Wait until no picture is being made; raises `JobCancelled` if cancelled meanwhile."""
        wait_while(self._is_busy, is_cancelled, _LOOK_S)
        yield


def wait_while(
    is_busy: Callable[[], bool], is_cancelled: Callable[[], bool], look_s: float
) -> None:
    """Look again and again until it is not busy; raises `JobCancelled`."""
    while not is_cancelled():
        if not is_busy():
            return
        time.sleep(look_s)
    raise JobCancelled
