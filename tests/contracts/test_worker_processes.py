"""The queue on Redis with real worker processes, each beside a stand-in for its SD.Next."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lora_manager_core.app import create_app
from lora_manager_core.bootstrap import Application, build_application
from lora_manager_core.db.models import Job
from lora_manager_core.queueing.base import CANCELLED, ENDED, LIBRARY_LANE, RUNNING, SUCCEEDED
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import LEASE_S, JobStore
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys
from tests.fakes.redis_server import RedisServer
from tests.fakes.sdnext_server import FakeSdnext
from tests.processes import PATIENCE_S, WorkerProcess, wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(240)]

_PICTURE = {"prompt": "a fox", "width": 64, "height": 64, "steps": 4, "sampler_name": "Euler"}


@dataclass
class Server:
    """The server of an installation, in this process, without a backend of its own."""

    application: Application
    client: TestClient
    folder: Path
    opened: list[WorkerProcess]

    def start_worker(self, sdnext: FakeSdnext, *options: str) -> WorkerProcess:
        """A worker beside that SD.Next, at work."""
        worker = WorkerProcess(
            self.application.settings, self.folder, "--sdnext-url", sdnext.url, *options
        )
        self.opened.append(worker)
        worker.wait_until_at_work()
        return worker

    def queue_picture(self, **params: Any) -> str:
        """Order a picture in the background; gives the job's id."""
        answer = self.client.post(
            "/v1/generation/generate?mode=deferred&return_format=url", json={**_PICTURE, **params}
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["job_id"])

    def wait(self, job_id: str) -> Job:
        job = self.application.services.get(Jobs).wait(job_id, PATIENCE_S)
        assert job.status in ENDED, f"the job is still {job.status}"
        return job

    def wait_until_running(self, job_id: str) -> None:
        jobs = self.application.services.get(Jobs)
        wait_until(lambda: jobs.get(job_id).status == RUNNING, "the job did not begin")

    def outcomes(self, job_id: str) -> list[str | None]:
        with self.application.database.read() as session:
            return [attempt.outcome for attempt in JobStore(session).attempts(job_id)]


@pytest.fixture
def open_server(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Opens servers with the queue on a Redis; they and their workers end with the test."""
    opened: list[Server] = []
    library = tmp_path / "library"
    library.mkdir()

    def _open(redis_url: str) -> Server:
        application = build_application(
            Settings(
                data_dir=tmp_path / "data",
                database_url=database_url,
                redis_url=redis_url,
                library_roots=(library,),
            )
        )
        access = StandAloneAccess(application.services.get(ApiKeys))
        client = TestClient(create_app(application, access), base_url="http://127.0.0.1:7862")
        client.__enter__()
        opened.append(Server(application, client, tmp_path / "workers", []))
        return opened[-1]

    yield _open
    for server in opened:
        for worker in server.opened:
            worker.close()
        server.client.__exit__(None, None, None)


@pytest.fixture
def server(open_server: Callable[..., Server], empty_redis_url: str) -> Server:
    return open_server(empty_redis_url)


@pytest.fixture
def empty_redis_url(redis_url: str) -> str:
    """A database of Redis that only these tests use, emptied."""
    from redis import Redis

    url = redis_url.rpartition("/")[0] + "/9"
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def sdnext() -> Iterator[FakeSdnext]:
    with FakeSdnext() as fake:
        yield fake


@pytest.fixture
def second_sdnext() -> Iterator[FakeSdnext]:
    with FakeSdnext() as fake:
        yield fake


class TestDelivering:
    def test_a_picture_ordered_at_the_server_is_made_beside_the_worker(
        self, server: Server, sdnext: FakeSdnext
    ) -> None:
        server.start_worker(sdnext)

        job = server.wait(server.queue_picture())

        assert (job.status, job.error) == (SUCCEEDED, None)
        (link,) = (job.result or {})["images"]
        picture = server.client.get(f"/v1{link}")
        assert picture.status_code == 200
        assert picture.content.startswith(b"\x89PNG")

    def test_a_caller_who_waits_is_given_the_picture(
        self, server: Server, sdnext: FakeSdnext
    ) -> None:
        server.start_worker(sdnext)

        answer = server.client.post("/v1/generation/generate?return_format=url", json=_PICTURE)

        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "completed"
        assert len(answer.json()["images"]) == 1

    def test_a_thousand_jobs_are_each_done_once(self, server: Server, sdnext: FakeSdnext) -> None:
        jobs = server.application.services.get(Jobs)
        with server.application.database.write() as session:
            ids = [jobs.submit(session, "library.scan", LIBRARY_LANE, {}).id for _ in range(1000)]

        server.start_worker(sdnext, "--processes", "2", "--lanes", "library")

        assert {server.wait(job_id).status for job_id in ids} == {SUCCEEDED}
        assert [server.outcomes(job_id) for job_id in ids] == [[SUCCEEDED]] * 1000

    def test_a_worker_without_its_sd_next_leaves_the_jobs_to_the_others(
        self, server: Server, sdnext: FakeSdnext, second_sdnext: FakeSdnext
    ) -> None:
        sdnext.starting = True
        server.start_worker(sdnext)
        server.start_worker(second_sdnext)

        ids = [server.queue_picture() for _ in range(20)]

        assert {server.wait(job_id).status for job_id in ids} == {SUCCEEDED}
        failed = sum(server.outcomes(job_id).count("failed") for job_id in ids)
        assert failed <= 4, "it took one job after the other"


class TestStopping:
    def test_a_job_whose_worker_was_killed_ends_once_with_another_one(
        self, server: Server, sdnext: FakeSdnext, second_sdnext: FakeSdnext
    ) -> None:
        sdnext.step_s = 30.0
        killed = server.start_worker(sdnext)
        job_id = server.queue_picture()
        assert sdnext.began.wait(PATIENCE_S)
        server.start_worker(second_sdnext)

        began = time.monotonic()
        killed.kill()

        assert server.wait(job_id).status == SUCCEEDED
        assert time.monotonic() - began < LEASE_S / 2  # its owner is known to be dead
        assert server.outcomes(job_id) == ["abandoned", SUCCEEDED]
        assert len(second_sdnext.finished) == 1

    def test_sigterm_puts_the_running_job_back_for_another_worker(
        self, server: Server, sdnext: FakeSdnext, second_sdnext: FakeSdnext
    ) -> None:
        sdnext.step_s = 0.2
        stopped = server.start_worker(sdnext)
        job_id = server.queue_picture(steps=100)
        assert sdnext.began.wait(PATIENCE_S)
        server.start_worker(second_sdnext)

        assert stopped.terminate() == 0

        assert server.wait(job_id).status == SUCCEEDED
        assert server.outcomes(job_id) == ["released", SUCCEEDED]
        assert (len(sdnext.finished), len(second_sdnext.finished)) == (0, 1)

    def test_a_process_that_crashed_is_replaced(self, server: Server, sdnext: FakeSdnext) -> None:
        worker = server.start_worker(sdnext)
        (crashed,) = worker.children()

        crashed.send_signal(signal.SIGKILL)

        assert server.wait(server.queue_picture()).status == SUCCEEDED
        assert [child.pid for child in worker.children()] != [crashed.pid]
        assert f"worker process {crashed.pid} ended" in worker.text()

    def test_processes_whose_supervisor_was_killed_put_their_job_back_and_end(
        self, server: Server, sdnext: FakeSdnext
    ) -> None:
        sdnext.step_s = 0.2
        worker = server.start_worker(sdnext)
        (child,) = worker.children()
        job_id = server.queue_picture(steps=100)
        assert sdnext.began.wait(PATIENCE_S)

        worker.kill_supervisor()

        wait_until(lambda: not child.is_running(), "the process goes on without its supervisor")
        assert server.outcomes(job_id) == ["released"]


class TestCancelling:
    def test_a_running_job_stops_soon_after_the_server_was_told(
        self, server: Server, sdnext: FakeSdnext
    ) -> None:
        sdnext.step_s = 0.05
        server.start_worker(sdnext)
        job_id = server.queue_picture(steps=150)
        assert sdnext.began.wait(PATIENCE_S)
        server.wait_until_running(job_id)

        began = time.monotonic()
        assert server.client.post(f"/v1/generation/jobs/{job_id}/cancel").status_code == 200

        assert server.wait(job_id).status == CANCELLED
        assert time.monotonic() - began < 4.0
        assert sdnext.interrupts >= 1
        assert sdnext.finished == []


class TestRedisGone:
    def test_jobs_survive_it_and_are_done_when_it_is_back_and_empty(
        self, open_server: Callable[..., Server], sdnext: FakeSdnext, tmp_path: Path
    ) -> None:
        redis = RedisServer(tmp_path)
        redis.start()
        try:
            server = open_server(redis.url)
            queue = server.application.services.get(Jobs)
            sdnext.step_s = 0.5
            worker = server.start_worker(sdnext)
            running = server.queue_picture()
            assert sdnext.began.wait(PATIENCE_S)
            waiting = [server.queue_picture() for _ in range(3)]

            redis.kill()
            in_between = server.queue_picture()
            assert queue.load().problem is not None
            assert server.wait(running).status == SUCCEEDED
            redis.start()

            ids = [*waiting, in_between]
            assert [server.wait(job_id).status for job_id in ids] == [SUCCEEDED] * 4
            assert [server.outcomes(job_id) for job_id in ids] == [[SUCCEEDED]] * 4
            wait_until(lambda: queue.load().problem is None, "the problem is told for ever")
            assert "Redis cannot be reached" in worker.text()
        finally:
            redis.kill()

    def test_a_worker_that_comes_first_waits_for_it_and_says_so(
        self, open_server: Callable[..., Server], sdnext: FakeSdnext, tmp_path: Path
    ) -> None:
        redis = RedisServer(tmp_path)
        server = open_server(redis.url)
        job_id = server.queue_picture()
        worker = server.start_worker(sdnext)
        wait_until(lambda: "Redis cannot be reached" in worker.text(), worker.text())

        redis.start()
        try:
            assert server.wait(job_id).status == SUCCEEDED
        finally:
            redis.kill()


class TestWorkers:
    def test_are_told_while_they_live(self, server: Server, sdnext: FakeSdnext) -> None:
        jobs = server.application.services.get(Jobs)
        assert jobs.load().workers == ()
        worker = server.start_worker(sdnext, "--lanes", "gpu,delivery")

        lanes = {("gpu",), ("delivery",)}
        wait_until(
            lambda: {worker.lanes for worker in jobs.load().workers} == lanes,
            "the workers are not told",
        )

        worker.kill()
        wait_until(lambda: not jobs.load().workers, "the dead are told", 10.0)
