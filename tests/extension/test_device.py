"""What the dashboard is told of the host's device."""

from __future__ import annotations

import logging

import pytest

from lora_manager_core.system.device import DeviceReading, NoReading
from lora_manager_ext.device import HostDevice

GIB = 2**30


class FakeHost:
    """`memory` as the host's monitor gives it; an exception is raised."""

    def __init__(
        self, kind: str | None, memory: tuple[str, int, int] | Exception | None = None
    ) -> None:
        self.kind = kind
        self.memory = memory

    def device_kind(self) -> str | None:
        return self.kind

    def device_memory(self) -> tuple[str, int, int] | None:
        if isinstance(self.memory, Exception):
            raise self.memory
        return self.memory


def read(host: FakeHost) -> DeviceReading | NoReading:
    return HostDevice(host, logging.getLogger("test-device")).read()


def test_a_gpu() -> None:
    reading = read(FakeHost("cuda", ("RTX 4090", 3 * GIB, 24 * GIB)))
    assert reading == DeviceReading("RTX 4090", 3 * GIB, 24 * GIB)


@pytest.mark.parametrize(
    ("host", "reason", "absent"),
    [
        pytest.param(FakeHost("cpu"), "on the CPU", True, id="CPU"),
        pytest.param(FakeHost(None), "not chosen", False, id="still starting"),
        pytest.param(FakeHost("mps"), "(mps)", False, id="a device that tells nothing"),
        pytest.param(FakeHost("cuda", RuntimeError("lost")), "lost", False, id="a lost device"),
    ],
)
def test_no_figures(host: FakeHost, reason: str, absent: bool) -> None:
    reading = read(host)
    assert isinstance(reading, NoReading)
    assert reason in reading.reason
    assert reading.absent is absent
