"""Accelerators that are not there: as our port, as NVIDIA's library, and as torch shows them."""

from __future__ import annotations

from types import SimpleNamespace

from lora_manager_core.system.device import DeviceReading, NoReading


class FakeDevice:
    """A monitor that always gives this answer."""

    def __init__(self, answer: DeviceReading | NoReading) -> None:
        self.answer = answer

    def read(self) -> DeviceReading | NoReading:
        return self.answer


class FakeNvml:
    """The calls of `pynvml` that we make; `problem` is what the driver says instead of answering.

    `silent` names one call that this card does not support.
    """

    class NVMLError(Exception):
        """The parent of the library's errors."""

    def __init__(self, problem: str | None = None, silent: str | None = None) -> None:
        self.problem = problem
        self.silent = silent
        self.opened = 0

    def nvmlInit(self) -> None:
        self._answer("nvmlInit")
        self.opened += 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self._answer("nvmlDeviceGetHandleByIndex")
        return index

    def nvmlDeviceGetName(self, _card: int) -> bytes:
        return b"Card 0"

    def nvmlDeviceGetMemoryInfo(self, _card: int) -> SimpleNamespace:
        self._answer("nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(used=3_000, free=5_000, total=8_000)

    def nvmlDeviceGetUtilizationRates(self, _card: int) -> SimpleNamespace:
        self._answer("nvmlDeviceGetUtilizationRates")
        return SimpleNamespace(gpu=25, memory=10)

    def _answer(self, call: str) -> None:
        if self.problem is not None:
            raise self.NVMLError(self.problem)
        if self.silent == call:
            raise self.NVMLError("Not Supported")


class FakeTorchDevice:
    """`torch.cuda` or `torch.xpu`; `free` of 8,000 bytes, or an error of the driver."""

    def __init__(self, name: str, free: int | None, initialized: bool = True) -> None:
        self._name = name
        self._free = free
        self._initialized = initialized

    def is_initialized(self) -> bool:
        return self._initialized

    def mem_get_info(self) -> tuple[int, int]:
        if self._free is None:
            raise RuntimeError("the device is lost")
        return self._free, 8_000

    def get_device_name(self) -> str:
        return self._name


class FakeMps:
    """`torch.mps` and, through `is_available`, `torch.backends.mps`."""

    def driver_allocated_memory(self) -> int:
        return 2_000

    def recommended_max_memory(self) -> int:
        return 16_000

    def is_available(self) -> bool:
        return True
