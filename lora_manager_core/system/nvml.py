"""NVIDIA's own account of its first card, through the library of the `gpu` extra."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from lora_manager_core.system.device import DeviceReading, NoReading

_NOT_INSTALLED = NoReading(
    "NVIDIA cards cannot be read, because nvidia-ml-py is not installed: "
    'pip install "sd-lora-manager[gpu]".'
)


def _load_pynvml() -> Any:
    import pynvml

    return pynvml


class NvmlDevice:
    """The first card as `nvidia-smi` counts them; the driver is opened once and stays open."""

    def __init__(self, load: Callable[[], Any] = _load_pynvml) -> None:
        """`load` imports the library, or raises ImportError; it is for tests."""
        self._load = load
        self._lock = threading.Lock()
        self._nvml: Any = None

    def read(self) -> DeviceReading | NoReading:
        """Ask the driver."""
        try:
            nvml = self._load()
        except ImportError:
            return _NOT_INSTALLED
        try:
            with self._lock:
                if self._nvml is None:
                    nvml.nvmlInit()
                    self._nvml = nvml
            card = nvml.nvmlDeviceGetHandleByIndex(0)
            memory = nvml.nvmlDeviceGetMemoryInfo(card)
            name = nvml.nvmlDeviceGetName(card)
        except nvml.NVMLError as error:
            return NoReading(f"No NVIDIA driver answers ({error}).")
        return DeviceReading(
            name.decode() if isinstance(name, bytes) else str(name),
            int(memory.used),
            int(memory.total),
            _utilisation(nvml, card),
        )


def _utilisation(nvml: Any, card: Any) -> float | None:
    """Share of the last moments in which the card computed; not every card tells."""
    try:
        return float(nvml.nvmlDeviceGetUtilizationRates(card).gpu) / 100
    except nvml.NVMLError:
        return None
