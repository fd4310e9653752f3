"""The port through which computing gives way to pictures.

Inside SD.Next the device and its memory are the host's, and its queue lock says whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class ComputeTurns(Protocol):
    """When and where embeddings may be computed."""

    def device(self, needed_bytes: int) -> str:
        """The torch device to use now; `cpu` where the accelerator has not that much to spare."""

    def turn(self, device: str, is_cancelled: Callable[[], bool]) -> AbstractContextManager[None]:
        """Wait until no picture is being made, then compute one small batch inside the `with`.

        On an accelerator no picture is begun inside it, so a batch takes a fraction of a second;
        on the CPU pictures do not wait for it. Raises `JobCancelled` if cancelled while waiting.
        """
