"""Computing inside SD.Next: on its device if there is room, and between its pictures."""

from __future__ import annotations

import logging
import threading

import pytest

from lora_manager_core.queueing.base import JobCancelled
from lora_manager_ext.turns import HostTurns

LOG = logging.getLogger("test")


class FakeHost:
    """A host with a queue lock, a device, and its memory."""

    def __init__(self, device: str | None = "cuda:0") -> None:
        self.queue_lock = threading.Lock()
        self.device = device
        self.memory: tuple[str, int, int] | None = ("GPU", 6 << 30, 8 << 30)
        self.loading = False
        self.failure: Exception | None = None

    def is_loading(self) -> bool:
        return self.loading

    def torch_device(self) -> str | None:
        if self.failure is not None:
            raise self.failure
        return self.device

    def device_memory(self) -> tuple[str, int, int] | None:
        return self.memory


class TestDevice:
    def test_is_that_of_the_host_if_it_has_memory_to_spare(self) -> None:
        turns = HostTurns(FakeHost(), LOG)

        assert turns.device(1 << 30) == "cuda:0"
        assert turns.device(3 << 30) == "cpu"

    @pytest.mark.parametrize("device", [None, "cpu"])
    def test_is_the_cpu_where_the_host_has_no_other(self, device: str | None) -> None:
        assert HostTurns(FakeHost(device), LOG).device(0) == "cpu"

    def test_is_the_cpu_where_the_host_does_not_tell_its_memory(self) -> None:
        host = FakeHost()
        host.memory = None

        assert HostTurns(host, LOG).device(0) == "cpu"

    def test_is_the_cpu_where_the_host_fails(self) -> None:
        host = FakeHost()
        host.failure = AttributeError("devices has no device")

        assert HostTurns(host, LOG).device(0) == "cpu"


class TestTurn:
    def test_on_its_device_no_picture_begins_meanwhile(self) -> None:
        host = FakeHost()

        with HostTurns(host, LOG).turn("cuda:0", lambda: False):
            assert host.queue_lock.locked()

        assert not host.queue_lock.locked()

    def test_the_lock_is_given_back_whatever_happens(self) -> None:
        host = FakeHost()

        with pytest.raises(ValueError, match="odd"), HostTurns(host, LOG).turn("cuda", bool):
            raise ValueError("odd")

        assert not host.queue_lock.locked()

    def test_on_the_cpu_pictures_do_not_wait(self) -> None:
        host = FakeHost()

        with HostTurns(host, LOG).turn("cpu", lambda: False):
            assert not host.queue_lock.locked()

    @pytest.mark.parametrize("device", ["cpu", "cuda:0"])
    def test_it_waits_for_the_picture_that_is_made(self, device: str) -> None:
        host, computed = FakeHost(), threading.Event()
        host.queue_lock.acquire()

        def _compute() -> None:
            with HostTurns(host, LOG).turn(device, lambda: False):
                computed.set()

        thread = threading.Thread(target=_compute)
        thread.start()
        assert not computed.wait(0.3)
        host.queue_lock.release()
        assert computed.wait(10)
        thread.join()

    @pytest.mark.parametrize("device", ["cpu", "cuda:0"])
    def test_cancelled_it_does_not_wait(self, device: str) -> None:
        host = FakeHost()
        host.queue_lock.acquire()

        turn = HostTurns(host, LOG).turn(device, lambda: True)
        with pytest.raises(JobCancelled), turn:
            raise AssertionError("it was computed")

    def test_pictures_come_first_between_two_batches(self) -> None:
        host = FakeHost()
        turns = HostTurns(host, LOG)
        stop = threading.Event()

        def _embed() -> None:
            while not stop.is_set():
                with turns.turn("cuda:0", lambda: False):
                    stop.wait(0.01)

        thread = threading.Thread(target=_embed)
        thread.start()
        for _ in range(5):
            assert host.queue_lock.acquire(timeout=1.0)
            host.queue_lock.release()
        stop.set()
        thread.join()
