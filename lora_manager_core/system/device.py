"""The port that reads the accelerator, and who answers for it outside SD.Next.

Inside SD.Next the host's own reading comes in through `bootstrap.Parts.device_monitor`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lora_manager_core.backends.torch_memory import DeviceMemory, torch_device_memory


@dataclass(frozen=True, slots=True)
class DeviceReading:
    """One look at an accelerator: memory in bytes, of all programs; `utilisation` 0..1."""

    name: str
    used_bytes: int
    total_bytes: int
    utilisation: float | None = None


@dataclass(frozen=True, slots=True)
class NoReading:
    """Why there are no figures, for people; `absent` where there certainly is no accelerator."""

    reason: str
    absent: bool = False


class DeviceMonitor(Protocol):
    """Reads the accelerator that makes the pictures."""

    def read(self) -> DeviceReading | NoReading:
        """Look now: quickly, from any thread, and without raising."""


class TorchDevice:
    """The accelerator that the embedded backend works on, once it does."""

    def __init__(
        self, read_memory: Callable[[], DeviceMemory | None] = torch_device_memory
    ) -> None:
        self._read_memory = read_memory

    def read(self) -> DeviceReading | NoReading:
        """Ask torch, if it is in use; it is never loaded for this."""
        memory = self._read_memory()
        if memory is None:
            return NoReading("The embedded backend is not using an accelerator now.")
        return DeviceReading(memory.name, memory.used_bytes, memory.total_bytes)


class FirstReading:
    """Several monitors, of which the first that can read answers."""

    def __init__(self, monitors: Sequence[DeviceMonitor]) -> None:
        self._monitors = monitors

    def read(self) -> DeviceReading | NoReading:
        """The first reading, else every monitor's reason."""
        problems: list[NoReading] = []
        for monitor in self._monitors:
            answer = monitor.read()
            if isinstance(answer, DeviceReading):
                return answer
            problems.append(answer)
        return NoReading(
            " ".join(problem.reason for problem in problems),
            absent=any(problem.absent for problem in problems),
        )
