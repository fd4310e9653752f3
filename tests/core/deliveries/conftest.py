"""Deliveries without the rest of the application: short pauses, short patience, a fake target."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.deliveries.file_mode import FileMode
from lora_manager_core.deliveries.http_mode import HttpMode, Resolve, resolve_host
from lora_manager_core.deliveries.posting import Bounds
from lora_manager_core.deliveries.schemas import DeliveryCreate, DeliveryRecord
from lora_manager_core.deliveries.service import DeliveryService
from lora_manager_core.deliveries.targets import AllowedTargets
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import DELIVERY_LANE, ENDED
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.threads import ThreadQueue
from tests.fakes.http_target import FakeTarget

#: Long enough for a slow machine; no test waits for it unless it fails.
_PATIENCE_S = 30.0


@dataclass
class Desk:
    """Sends deliveries, and waits for what becomes of them."""

    jobs: Jobs
    service: DeliveryService
    outbox: Path

    def send(self, mode: str, prompt: str = "a fox", **params: Any) -> str:
        """Create a delivery; gives its id."""
        return self.service.create(DeliveryCreate(prompt=prompt, mode=mode, params=params))

    def get(self, delivery_id: str) -> DeliveryRecord:
        """The delivery as it is now."""
        return self.service.get(delivery_id, "/v1")

    def end_of(self, delivery_id: str) -> DeliveryRecord:
        """The delivery once it has ended."""
        job = self.jobs.wait(delivery_id, _PATIENCE_S)
        assert job.status in ENDED, f"the delivery is still {job.status}"
        return self.get(delivery_id)


MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(database: Database, tmp_path: Path) -> Iterator[MakeDesk]:
    """Build a started desk; by default, deliveries may go to 127.0.0.1."""
    started: list[Jobs] = []

    def _make(
        targets: tuple[str, ...] = ("127.0.0.1",),
        resolve: Resolve = resolve_host,
        trust: ssl.SSLContext | None = None,
        outbox: Path = tmp_path / "outbox",
        start: bool = True,
        **bounds: float,
    ) -> Desk:
        feed = MemoryFeed()
        runner = JobRunner(database, feed, first_pause_s=0.05)
        jobs = Jobs(database, ThreadQueue(runner, {DELIVERY_LANE: 1}), feed, runner)
        limits = Bounds(**{"connect_s": 5.0, "silent_s": 10.0, "whole_s": 20.0, **bounds})
        modes = [
            HttpMode(runner, AllowedTargets(targets), resolve, limits, trust),
            FileMode(runner, outbox),
        ]
        started.append(jobs)
        if start:
            jobs.start()
        return Desk(jobs, DeliveryService(database, jobs, modes), outbox)

    yield _make
    for jobs in started:
        jobs.stop()


@pytest.fixture
def desk(make_desk: MakeDesk) -> Desk:
    """A started desk."""
    return make_desk()


@pytest.fixture
def target() -> Iterator[FakeTarget]:
    """A server that takes prompts."""
    with FakeTarget() as target:
        yield target
