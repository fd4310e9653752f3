"""Reading the accelerator: the figures it gives, and the reasons where there are none."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

from lora_manager_core.backends.torch_memory import DeviceMemory, torch_device_memory
from lora_manager_core.system.device import DeviceReading, FirstReading, NoReading, TorchDevice
from lora_manager_core.system.nvml import NvmlDevice
from tests.fakes.devices import FakeDevice, FakeMps, FakeNvml, FakeTorchDevice


def _missing() -> None:
    raise ImportError("No module named 'pynvml'")


class TestNvml:
    def test_reads_the_first_card(self):
        nvml = FakeNvml()
        monitor = NvmlDevice(lambda: nvml)
        expected = DeviceReading("Card 0", 3_000, 8_000, 0.25)
        assert [monitor.read(), monitor.read()] == [expected, expected]
        assert nvml.opened == 1

    def test_a_card_that_does_not_tell_its_load_is_read_all_the_same(self):
        nvml = FakeNvml(silent="nvmlDeviceGetUtilizationRates")
        assert NvmlDevice(lambda: nvml).read() == DeviceReading("Card 0", 3_000, 8_000, None)

    def test_says_that_no_driver_answers_and_asks_again_later(self):
        nvml = FakeNvml(problem="NVML Shared Library Not Found")
        monitor = NvmlDevice(lambda: nvml)
        assert monitor.read() == NoReading(
            "No NVIDIA driver answers (NVML Shared Library Not Found)."
        )
        nvml.problem = None
        assert isinstance(monitor.read(), DeviceReading)

    def test_names_the_extra_that_is_missing(self):
        answer = NvmlDevice(_missing).read()
        assert isinstance(answer, NoReading)
        assert "sd-lora-manager[gpu]" in answer.reason
        assert not answer.absent


class TestTorch:
    def test_reads_the_device_that_is_in_use(self):
        torch = SimpleNamespace(
            cuda=FakeTorchDevice("unused", 1, initialized=False),
            xpu=FakeTorchDevice("Arc", 6_500),
        )
        assert torch_device_memory(torch) == DeviceMemory("Arc", 1_500, 8_000)

    def test_reads_an_apple_gpu(self):
        mps = FakeMps()
        torch = SimpleNamespace(mps=mps, backends=SimpleNamespace(mps=mps))
        assert torch_device_memory(torch) == DeviceMemory("Apple GPU", 2_000, 16_000)

    def test_does_not_wake_a_device(self):
        torch = SimpleNamespace(cuda=FakeTorchDevice("asleep", None, initialized=False))
        assert torch_device_memory(torch) is None

    def test_gives_nothing_when_the_driver_does_not_tell(self):
        assert torch_device_memory(SimpleNamespace(cuda=FakeTorchDevice("lost", None))) is None

    def test_a_torch_that_is_half_imported_is_no_accelerator(self):
        assert torch_device_memory(SimpleNamespace(cuda=SimpleNamespace())) is None

    def test_is_never_imported_for_this(self):
        program = (
            "import sys; from lora_manager_core.system.device import TorchDevice, NoReading;"
            "assert isinstance(TorchDevice().read(), NoReading); print('torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
        )
        assert (done.stdout.strip(), done.returncode) == ("False", 0), done.stderr

    def test_becomes_a_reading(self):
        monitor = TorchDevice(lambda: DeviceMemory("Card", 1, 2))
        assert monitor.read() == DeviceReading("Card", 1, 2)


class TestSeveral:
    def test_the_first_that_can_read_answers(self):
        second = DeviceReading("b", 1, 2)
        monitors = [
            FakeDevice(NoReading("a cannot.")),
            FakeDevice(second),
            FakeDevice(DeviceReading("c", 3, 4)),
        ]
        assert FirstReading(monitors).read() == second

    def test_otherwise_every_reason_is_given(self):
        monitors = [FakeDevice(NoReading("One.")), FakeDevice(NoReading("Two.", absent=True))]
        assert FirstReading(monitors).read() == NoReading("One. Two.", absent=True)
