"""What goes wrong around a job, through the whole application: nothing else suffers by it."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import select

from lora_manager_core.app import create_app
from lora_manager_core.backends.base import (
    GenerationRequest,
    GenerationResult,
    IsCancelled,
    PreviewsWanted,
    ProgressCallback,
    nobody_looks,
)
from lora_manager_core.bootstrap import Application, Parts, build_application
from lora_manager_core.db.models import Job, Result
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.deliveries.schemas import DeliveryCreate
from lora_manager_core.deliveries.service import DeliveryService
from lora_manager_core.feed.base import Feed
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import (
    CANCELLED,
    ENDED,
    FAILED,
    GPU_LANE,
    RUNNING,
    SUCCEEDED,
    JobContext,
)
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.threads import ThreadQueue
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys
from tests.fakes.backend import FakeBackend
from tests.fakes.recorder import Recorder

_PATIENCE_S = 60.0


class Manager:
    """A started application and what stands behind it."""

    def __init__(self, backend: FakeBackend, **settings: Any) -> None:
        self.backend = backend
        self.application: Application = build_application(
            Settings(**settings), Parts(backends=lambda _database: [backend])
        )
        self.application.start()
        self.jobs = self.application.services.get(Jobs)
        self.heard = Recorder()
        self.application.services.get(Feed).subscribe(self.heard)
        self.outputs = self.application.settings.outputs

    def deliver(self, **params: Any) -> str:
        """Order a small picture; gives the job's id."""
        params = {"steps": 1, "width": 16, "height": 16, **params}
        request = DeliveryCreate(
            prompt="a fox", mode="sdnext", params={"generation_params": params}
        )
        return self.application.services.get(DeliveryService).create(request)

    def wait(self, job_id: str) -> Job:
        """The job once it has ended."""
        job = self.jobs.wait(job_id, _PATIENCE_S)
        assert job.status in ENDED, f"the job is still {job.status}"
        return job

    def files(self) -> list[Path]:
        """Everything in the output folder."""
        return [path for path in self.outputs.rglob("*") if path.is_file()]

    def results(self) -> list[str]:
        """The jobs that have a result."""
        with self.application.database.read() as session:
            return list(session.scalars(select(Result.job_id)))


Start = Callable[..., Manager]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts an application, with the settings and the backend given; stops it after the test."""
    started: list[Manager] = []

    def _start(backend: FakeBackend | None = None, **settings: Any) -> Manager:
        given = {"data_dir": tmp_path / "data", "database_url": database_url, **settings}
        started.append(Manager(backend or FakeBackend(), **given))
        return started[-1]

    yield _start
    for manager in started:
        manager.backend.gate.set()
        manager.application.stop()


class TestAThousandJobs:
    @pytest.mark.timeout(300)
    def test_run_once_each_in_the_order_they_came(self, database: Database) -> None:
        feed, ran = MemoryFeed(), []
        runner = JobRunner(database, feed)
        jobs = Jobs(database, ThreadQueue(runner, {GPU_LANE: 1}), feed, runner)
        all_ran = threading.Event()

        def _handler(context: JobContext) -> dict[str, Any]:
            ran.append(context.payload["number"])
            if len(ran) == 1000:
                all_ran.set()
            return {}

        runner.register("work", _handler)
        with database.write() as session:
            left = [jobs.submit(session, "work", GPU_LANE, {"number": n}).id for n in range(500)]
        jobs.start()  # half of them lay there, half come while it works
        try:
            for first in range(500, 1000, 50):
                with database.write() as session:
                    for number in range(first, first + 50):
                        left.append(jobs.submit(session, "work", GPU_LANE, {"number": number}).id)
            assert all_ran.wait(250)
            jobs.wait(left[-1], _PATIENCE_S)
        finally:
            jobs.stop()

        assert ran == list(range(1000))
        with database.read() as session:
            ended = session.execute(select(Job.status, Job.attempts).distinct()).all()
        assert [tuple(row) for row in ended] == [(SUCCEEDED, 1)]


class TestAClientThatGoesAway:
    def test_in_the_middle_of_its_picture_holds_up_nobody(self, start: Start) -> None:
        """As often as callers may wait at once, so that a place that was not given back shows."""
        manager = start()
        manager.backend.gate.clear()
        with _served(manager) as port:
            for _ in range(8):
                _order_and_leave(port)
            _until(lambda: len(_jobs_of(manager)) == 8)
            assert manager.backend.started.wait(_PATIENCE_S)
            manager.backend.gate.set()

            ends = [manager.wait(job.id).status for job in _jobs_of(manager)]
            status, answer = _order(port)

        assert ends == [SUCCEEDED] * 8
        assert (status, answer["status"]) == (200, "completed")
        assert len(manager.results()) == 9


class _Deaf(FakeBackend):
    """Goes on to the end whatever one says, as a batch does that is in its last step."""

    def generate(
        self,
        request: GenerationRequest,
        on_progress: ProgressCallback,
        is_cancelled: IsCancelled,
        previews_wanted: PreviewsWanted = nobody_looks,
    ) -> GenerationResult:
        return super().generate(request, on_progress, lambda: False, previews_wanted)


class TestACancelledJobWhoseBackendFinishesLater:
    def test_stays_cancelled_and_leaves_no_picture(self, start: Start) -> None:
        manager = start(_Deaf())
        manager.backend.gate.clear()
        job_id = manager.deliver()
        assert manager.backend.started.wait(_PATIENCE_S)

        manager.jobs.cancel(job_id)
        manager.backend.gate.set()
        job = manager.wait(job_id)

        assert (job.status, job.result) == (CANCELLED, None)
        assert manager.files() == []
        assert manager.results() == []
        manager.heard.wait_for_end(job_id)
        ends = [event.data["status"] for event in manager.heard.of(job_id) if event.is_end]
        assert ends == ["cancelled"]
        assert manager.wait(manager.deliver()).status == SUCCEEDED


def _fill(folder: Path, but: int) -> Path:
    """Fill the disk until only `but` bytes are free; gives the file that does it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(1024))
        assert shutil.disk_usage(folder).free == 0
        file.truncate(file.tell() - but)
    return filler


class TestADiskThatIsFull:
    @pytest.mark.parametrize("free", [0, 4096], ids=["at the first", "at the second"])
    def test_fails_the_job_and_leaves_no_torn_file(
        self, start: Start, tiny_disk: Path, free: int
    ) -> None:
        """At the first or the second of two pictures; a page of this disk holds one of them."""
        manager = start(output_dir=tiny_disk / "outputs")
        assert manager.wait(manager.deliver()).status == SUCCEEDED  # makes the folders
        before = manager.files()
        filler = _fill(tiny_disk, free)

        job = manager.wait(manager.deliver(batch_size=2))

        assert job.status == FAILED
        assert "disk is full" in (job.error or {})["detail"]
        assert manager.files() == before
        assert job.id not in manager.results()
        filler.unlink()
        assert manager.wait(manager.deliver(batch_size=2)).status == SUCCEEDED
        assert len(manager.files()) == 3


class TestADatabaseThatAnotherOneHasLocked:
    def test_for_some_seconds_while_a_job_ends_ends_it_after_that(
        self, start: Start, database_url: str
    ) -> None:
        manager = start()
        manager.backend.gate.clear()
        job_id = manager.deliver(steps=1)
        assert manager.backend.started.wait(_PATIENCE_S)
        other = Database(database_url)
        try:
            with other.write() as session:
                session.scalar(select(Job.status))  # the lock is taken with the first statement
                manager.backend.gate.set()
                time.sleep(3)
                while_locked = manager.jobs.get(job_id).status
        finally:
            other.close()

        assert while_locked == RUNNING
        job = manager.wait(job_id)
        assert (job.status, job.attempts) == (SUCCEEDED, 1)
        assert manager.results() == [job_id]


@contextmanager
def _served(manager: Manager) -> Iterator[int]:
    """The application behind a real server; gives its port."""
    app = create_app(
        manager.application, StandAloneAccess(manager.application.services.get(ApiKeys))
    )
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        _until(lambda: server.started)
        yield int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(_PATIENCE_S)


def _send_order(port: int) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
    order = {"prompt": "a fox", "steps": 1, "width": 16, "height": 16}
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/generation/generate", json.dumps(order), headers)
    return connection


def _order_and_leave(port: int) -> None:
    _send_order(port).close()


def _order(port: int) -> tuple[int, Any]:
    connection = _send_order(port)
    answer = connection.getresponse()
    try:
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def _jobs_of(manager: Manager) -> list[Job]:
    with manager.application.database.read() as session:
        return list(session.scalars(select(Job).order_by(Job.created_at)))


def _until(holds: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.02)
