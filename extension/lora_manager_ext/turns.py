"""Turns inside SD.Next: its device, its memory, and its queue lock between two pictures."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from lora_manager_core.embeddings.local_turns import wait_while
from lora_manager_core.queueing.base import JobCancelled

#: How often it is looked whether the picture is done, in seconds.
_LOOK_S = 0.1
#: Between two batches, in seconds: a lock goes to whoever asks first, and that would be us again.
_AFTER_YOU_S = 0.02


class HostCompute(Protocol):
    """What of the host is needed to compute beside its pictures."""

    @property
    def queue_lock(self) -> threading.Lock: ...
    def is_loading(self) -> bool: ...
    def torch_device(self) -> str | None: ...
    def device_memory(self) -> tuple[str, int, int] | None: ...


class HostTurns:
    """Computing gives way to the host's pictures, whoever asked for them."""

    def __init__(self, host: HostCompute, log: logging.Logger) -> None:
        self._host = host
        self._log = log

    def device(self, needed_bytes: int) -> str:
        """The host's device if it has that much memory to spare, else `cpu`."""
        try:
            device = self._host.torch_device()
            memory = self._host.device_memory() if device not in (None, "cpu") else None
        except Exception:  # noqa: BLE001 - the host's border: then the CPU does
            self._log.debug("LoRA Manager: the device was not read", exc_info=True)
            return "cpu"
        if device is None or memory is None:
            return "cpu"
        _, used, total = memory
        return device if total - used >= needed_bytes else "cpu"

    @contextmanager
    def turn(self, device: str, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """Wait until the host makes no picture and loads no model; then, on its device, hold its
        queue for one batch. Raises `JobCancelled` if cancelled while waiting."""
        if device == "cpu":
            wait_while(self._is_busy, is_cancelled, _LOOK_S)
            yield
            return
        wait_while(self._host.is_loading, is_cancelled, _LOOK_S)
        while not self._host.queue_lock.acquire(timeout=_LOOK_S):
            if is_cancelled():
                raise JobCancelled
        try:
            yield
        finally:
            self._host.queue_lock.release()
            time.sleep(_AFTER_YOU_S)

    def _is_busy(self) -> bool:
        return self._host.queue_lock.locked() or self._host.is_loading()
