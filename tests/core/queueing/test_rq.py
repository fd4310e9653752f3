"""What lies in Redis, and what happens without one; the contract of all queues is elsewhere."""

from __future__ import annotations

import json
import logging
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import GPU_LANE, JobContext
from lora_manager_core.queueing.rq import RqQueue
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.store import JobWriter
from tests.fakes.redis_server import RedisServer
from tests.processes import wait_until

OpenQueue = Callable[..., RqQueue]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{(tmp_path / 'test.sqlite3').as_posix()}")
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def runner(database: Database) -> JobRunner:
    return JobRunner(database, MemoryFeed())


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def open_queue(runner: JobRunner, namespace: str) -> Iterator[OpenQueue]:
    opened: list[RqQueue] = []

    def _open(url: str, lanes: dict[str, int] | None = None) -> RqQueue:
        opened.append(RqQueue(url, runner, lanes, namespace))
        return opened[-1]

    yield _open
    for queue in opened:
        queue.stop()


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with Redis.from_url(redis_url) as opened:
        yield opened


@pytest.fixture
def in_redis(client: Any, namespace: str) -> Any:
    """RQ's own view of the GPU's lane."""
    return Queue(f"{namespace}-gpu", connection=client, serializer=JSONSerializer)


@pytest.mark.redis
class TestEntries:
    def test_hold_an_id_and_nothing_that_is_pickled(
        self, open_queue: OpenQueue, redis_url: str, client: Any, in_redis: Any
    ) -> None:
        job_id = str(uuid.uuid4())
        open_queue(redis_url).submit(GPU_LANE, job_id)

        assert in_redis.get_job_ids() == [job_id]
        stored = client.hgetall(f"rq:job:{job_id}")
        assert json.loads(zlib.decompress(stored[b"data"]))[2:] == [[], {}]  # no arguments

    def test_are_written_once(self, open_queue: OpenQueue, redis_url: str, in_redis: Any) -> None:
        queue = open_queue(redis_url)
        for _ in range(2):
            queue.submit(GPU_LANE, "a")
            queue.submit_all([(GPU_LANE, "a"), (GPU_LANE, "b")])

        assert in_redis.get_job_ids() == ["a", "b"]

    def test_that_were_lost_come_back_in_the_order_of_the_rows(
        self, open_queue: OpenQueue, redis_url: str, in_redis: Any
    ) -> None:
        queue = open_queue(redis_url)
        for job_id in ("b", "d"):
            queue.submit(GPU_LANE, job_id)

        queue.submit_all((GPU_LANE, job_id) for job_id in "abcde")

        assert in_redis.get_job_ids() == list("abcde")

    def test_keep_their_order_when_two_queue_the_same_jobs_at_one_moment(
        self, open_queue: OpenQueue, redis_url: str, in_redis: Any
    ) -> None:
        ids = [f"{number:03d}" for number in range(300)]
        one_by_one, at_once = open_queue(redis_url), open_queue(redis_url)
        begun = threading.Event()

        def submit() -> None:
            for job_id in ids:
                one_by_one.submit(GPU_LANE, job_id)
                begun.set()

        submitting = threading.Thread(target=submit)
        submitting.start()
        begun.wait()
        while submitting.is_alive():
            at_once.submit_all((GPU_LANE, job_id) for job_id in ids)
        submitting.join()

        assert in_redis.get_job_ids() == ids

    def test_leave_nothing_behind(
        self,
        open_queue: OpenQueue,
        redis_url: str,
        client: Any,
        in_redis: Any,
        database: Database,
        runner: JobRunner,
    ) -> None:
        ran: list[str] = []

        def fail(context: JobContext) -> dict[str, Any]:
            ran.append(context.job_id)
            raise ZeroDivisionError

        runner.register("work", fail)
        with database.write() as session:
            job_id = JobWriter(session).create("work", GPU_LANE, {}).id
        queue = open_queue(redis_url, {GPU_LANE: 1})
        queue.submit(GPU_LANE, job_id)
        queue.start()
        wait_until(lambda: ran, "the job did not run")
        queue.stop()

        assert in_redis.get_job_ids() == []
        assert client.lrange(in_redis.intermediate_queue_key, 0, -1) == []
        assert not client.exists(f"rq:job:{job_id}")
        assert in_redis.failed_job_registry.count == in_redis.started_job_registry.count == 0
        assert queue.workers() == []

    def test_of_somebody_else_are_not_executed(
        self, open_queue: OpenQueue, redis_url: str, in_redis: Any, tmp_path: Path
    ) -> None:
        in_redis.enqueue("os.mkdir", str(tmp_path / "made"))
        queue = open_queue(redis_url, {GPU_LANE: 1})

        queue.start()

        wait_until(lambda: not in_redis.get_job_ids(), "the entry was not taken")
        queue.stop()
        assert not (tmp_path / "made").exists()


@pytest.mark.redis
class TestWorkers:
    def test_that_are_missing_are_said_once(
        self, open_queue: OpenQueue, redis_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = open_queue(redis_url)
        with caplog.at_level(logging.INFO):
            server.submit_all([])
            server.submit_all([])
            working = open_queue(redis_url, {GPU_LANE: 1})
            working.start()
            wait_until(server.workers, "the worker is not told")
            server.submit_all([])

        ours = [record.message for record in caplog.records if record.name.startswith("lora_")]
        assert ours == [
            "nobody works for the queue: start `lora-manager worker`",
            "a worker has come",
        ]

    def test_register_again_where_redis_has_forgotten_them(
        self, open_queue: OpenQueue, tmp_path: Path
    ) -> None:
        redis = RedisServer(tmp_path)
        redis.start()
        try:
            queue = open_queue(redis.url, {GPU_LANE: 1})
            queue.start()
            wait_until(queue.workers, "the worker is not told")
            with Redis.from_url(redis.url) as client:
                client.flushall()
            assert queue.workers() == []

            wait_until(queue.workers, "the worker is not told again")
        finally:
            queue.stop()
            redis.kill()


class TestWithoutRedis:
    def test_nothing_raises_and_the_problem_is_logged_once(
        self, open_queue: OpenQueue, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue = open_queue("redis://127.0.0.1:1/0")
        assert queue.problem is None

        queue.submit(GPU_LANE, "a")
        queue.submit_all([(GPU_LANE, "a")])
        queue.cancel("a")

        assert queue.workers() == []
        assert len(caplog.records) == 1
        assert "127.0.0.1:1" in caplog.text
        assert "cannot be reached" in (queue.problem or "")

    @pytest.mark.redis
    def test_the_problem_ends_when_it_answers(self, open_queue: OpenQueue, tmp_path: Path) -> None:
        redis = RedisServer(tmp_path)
        queue = open_queue(redis.url)
        queue.submit(GPU_LANE, "a")
        assert queue.problem is not None

        redis.start()
        try:
            queue.submit(GPU_LANE, "a")
            assert queue.problem is None
        finally:
            redis.kill()
