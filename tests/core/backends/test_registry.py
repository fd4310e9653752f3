"""What is known of a backend without asking it anew."""

from __future__ import annotations

import threading

from lora_manager_core.backends.base import BackendStatus
from lora_manager_core.backends.registry import BackendRegistry
from tests.fakes.backend import FakeBackend


class SlowBackend(FakeBackend):
    """Answers a probe once `answers` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()

    def probe(self) -> BackendStatus:
        assert self.answers.wait(20)
        return self.status


class TestLastStatus:
    def test_nothing_is_known_at_first_and_nobody_waits(self):
        backend = SlowBackend()
        registry = BackendRegistry([backend])
        assert registry.last_status() is None
        backend.answers.set()

    def test_the_first_answer_is_waited_for(self):
        backend = SlowBackend()
        registry = BackendRegistry([backend])
        threading.Timer(0.05, backend.answers.set).start()
        assert registry.last_status(wait_s=20) is backend.status

    def test_but_no_longer_than_said(self):
        backend = SlowBackend()
        registry = BackendRegistry([backend])
        assert registry.last_status(wait_s=0.05) is None
        backend.answers.set()

    def test_a_later_answer_is_not_waited_for(self):
        registry = BackendRegistry([FakeBackend()])
        first = registry.probe()
        assert registry.last_status(wait_s=20) is first

    def test_there_is_none_without_a_backend(self):
        assert BackendRegistry([]).last_status(wait_s=20) is None
