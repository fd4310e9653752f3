"""A whole application over an SD.Next, reached by HTTP, that fails in the known ways."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from lora_manager_core.app import create_app
from lora_manager_core.backends.sdnext_http import SdnextHttpBackend
from lora_manager_core.bootstrap import Application, Parts, build_application
from lora_manager_core.common.clock import seconds_between
from lora_manager_core.db.models import GenerationRun, Job, JobAttempt
from lora_manager_core.feed.base import Feed
from lora_manager_core.queueing.base import GPU_LANE, LIBRARY_LANE, JobQueue
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.threads import ThreadQueue
from lora_manager_core.settings import Settings
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys
from tests.fakes.recorder import Recorder
from tests.fakes.sdnext_server import NO_CHECKPOINT, FakeSdnext

_ORDER = {"prompt": "a fox", "steps": 4, "width": 64, "height": 64, "seed": 5}
#: The first pause between two tries of these tests; of the six, the last is about two seconds.
_PAUSE_S = 0.05


def _quick(runner: JobRunner) -> JobQueue:
    runner.first_pause_s = _PAUSE_S
    return ThreadQueue(runner, {GPU_LANE: 1, LIBRARY_LANE: 1})


@dataclass
class Rig:
    """A started application, a client of its API, and what its feed told."""

    application: Application
    client: TestClient
    feed: Recorder
    output: Path

    def order(self, **changes: Any) -> str:
        """Queue a picture; its caller does not wait, so it is tried again."""
        answer = self.client.post("/v1/generation/queue-generation", json={**_ORDER, **changes})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["delivery_id"])

    def end(self, job_id: str) -> Job:
        """The job once it has ended."""
        self.feed.wait_for_end(job_id, 30)
        return self.application.services.get(Jobs).get(job_id)

    def wait_for_retry(self, job_id: str) -> str:
        """Until it was put off to another try; gives the reason that was told."""
        self.feed.wait_for(
            lambda event: (
                event.job_id == job_id and event.data["status"] == "queued"
                if "status" in event.data
                else False
            )
        )
        told = [
            event.data for event in self.feed.of(job_id) if event.data.get("status") == "queued"
        ]
        return str(told[0]["error_message"])

    def outcomes(self, job_id: str) -> list[str | None]:
        """How each attempt ended."""
        with self.application.database.read() as session:
            query = (
                select(JobAttempt.outcome)
                .where(JobAttempt.job_id == job_id)
                .order_by(JobAttempt.number)
            )
            return list(session.scalars(query))

    def stored(self) -> int:
        """Pictures in the output folder, part files included."""
        return sum(path.is_file() for path in self.output.rglob("*"))

    def runs(self) -> list[tuple[str | None, int, str | None]]:
        """Job, pictures and model of each generation that was counted."""
        with self.application.database.read() as session:
            query = select(GenerationRun.job_id, GenerationRun.images, GenerationRun.model)
            return [tuple(row) for row in session.execute(query)]


MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig(database_url: str, tmp_path: Path) -> Iterator[MakeRig]:
    """Build the application over the SD.Next at a URL."""
    with ExitStack() as stack:

        def _make(url: str, **login: Any) -> Rig:
            settings = Settings(
                data_dir=tmp_path / "data",
                database_url=database_url,
                output_dir=tmp_path / "output",
                library_roots=(),
            )
            backend = SdnextHttpBackend(url, **login, poll_interval_s=0.02, lost_after_s=2.0)
            application = build_application(
                settings, Parts(backends=lambda _database: [backend], queue=_quick)
            )
            access = StandAloneAccess(application.services.get(ApiKeys))
            client = TestClient(create_app(application, access), base_url="http://127.0.0.1:7862")
            stack.enter_context(client)
            feed = Recorder()
            application.services.get(Feed).subscribe(feed)  # type: ignore[type-abstract]
            return Rig(application, client, feed, tmp_path / "output")

        yield _make


@pytest.fixture
def host() -> Iterator[FakeSdnext]:
    with FakeSdnext() as host:
        yield host


@pytest.fixture
def rig(make_rig: MakeRig, host: FakeSdnext) -> Rig:
    return make_rig(host.url)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestThatMayPass:
    """Tried again by itself, and done once SD.Next is well."""

    def test_down_then_up(self, make_rig: MakeRig) -> None:
        port = _free_port()
        rig = make_rig(f"http://127.0.0.1:{port}")
        job_id = rig.order()
        assert "Nothing answers" in rig.wait_for_retry(job_id)
        with FakeSdnext(port) as host:
            assert rig.end(job_id).status == "succeeded"
            assert len(host.finished) == 1
        *failed, last = rig.outcomes(job_id)
        assert failed
        assert set(failed) == {"failed"}
        assert last == "succeeded"
        assert rig.runs() == [(job_id, 1, "Diffusers/tiny-sd")]

    def test_the_pauses_grow_and_end(self, make_rig: MakeRig) -> None:
        """Six more tries, then it has failed for what it failed for."""
        rig = make_rig(f"http://127.0.0.1:{_free_port()}")
        job_id = rig.order()
        job = rig.end(job_id)
        assert job.status == "failed"
        assert job.error is not None
        assert job.error["code"] == "backend_unavailable"
        with rig.application.database.read() as session:
            attempts = list(
                session.scalars(
                    select(JobAttempt)
                    .where(JobAttempt.job_id == job_id)
                    .order_by(JobAttempt.number)
                )
            )
        assert [attempt.outcome for attempt in attempts] == ["failed"] * 7
        pauses = [
            seconds_between(one.ended_at or "", other.started_at)
            for one, other in pairwise(attempts)
        ]
        assert pauses[0] >= _PAUSE_S * 0.8
        assert pauses[-1] > pauses[0] * 4
        assert rig.stored() == 0

    def test_routes_not_there_yet(self, rig: Rig, host: FakeSdnext) -> None:
        host.starting = True
        job_id = rig.order()
        assert "is starting" in rig.wait_for_retry(job_id)
        host.starting = False
        assert rig.end(job_id).status == "succeeded"

    def test_no_model_yet(self, rig: Rig, host: FakeSdnext) -> None:
        checkpoint, host.checkpoint = host.checkpoint, NO_CHECKPOINT
        job_id = rig.order()
        assert "no model loaded" in rig.wait_for_retry(job_id)
        assert host.orders == []
        host.checkpoint = checkpoint
        assert rig.end(job_id).status == "succeeded"

    def test_an_answer_without_images(self, rig: Rig, host: FakeSdnext) -> None:
        """What it says between its open port and the end of its start."""
        host.answer = (200, "application/json", b'{"images": [], "parameters": {}, "info": ""}')
        job_id = rig.order()
        assert "without a picture" in rig.wait_for_retry(job_id)
        host.answer = None
        assert rig.end(job_id).status == "succeeded"
        assert rig.stored() == 1

    def test_dies_in_the_middle_of_the_job(self, make_rig: MakeRig) -> None:
        port = _free_port()
        rig = make_rig(f"http://127.0.0.1:{port}")
        with FakeSdnext(port) as host:
            host.step_s, host.dies_at_step = 0.05, 2
            job_id = rig.order()
            assert "dropped the connection" in rig.wait_for_retry(job_id)
        with FakeSdnext(port) as host:
            job = rig.end(job_id)
            assert len(host.finished) == 1
        assert job.status == "succeeded"
        assert rig.stored() == 1
        ends = [event for event in rig.feed.of(job_id) if event.is_end]
        fractions = [e.data["progress"] for e in rig.feed.of(job_id) if not e.is_end]
        assert len(ends) == 1
        assert fractions == sorted(fractions)

    def test_slow(self, rig: Rig, host: FakeSdnext) -> None:
        """Slow is no fault: the order is waited for."""
        host.delay_s, host.step_s = 0.2, 0.2
        job_id = rig.order()
        assert rig.end(job_id).status == "succeeded"
        assert rig.outcomes(job_id) == ["succeeded"]
        assert any(0 < event.data.get("progress", 0) < 1 for event in rig.feed.of(job_id))


class TestThatWillNotPass:
    """Not tried again: the same order would fail the same way."""

    @pytest.mark.parametrize(
        ("answer", "code", "words"),
        [
            pytest.param(
                (500, "application/json", b'{"error": "X", "errors": "the scheduler broke"}'),
                "generation_failed",
                "the scheduler broke",
                id="500",
            ),
            pytest.param(
                (200, "text/html", b"<!doctype html><title>Proxy</title>"),
                "generation_failed",
                "web page",
                id="a page for people",
            ),
            pytest.param(
                (200, "application/json", b'{"images": ["bm8gcGljdHVyZQ=="], "info": "{}"}'),
                "generation_failed",
                "cannot be read",
                id="something that is no picture",
            ),
            pytest.param(
                (500, "application/json", b'{"errors": "CUDA out of memory"}'),
                "out_of_memory",
                "ran out of memory",
                id="out of memory",
            ),
        ],
    )
    def test_ends_at_once_and_says_why(
        self,
        rig: Rig,
        host: FakeSdnext,
        answer: tuple[int, str, bytes],
        code: str,
        words: str,
    ) -> None:
        host.answer = answer
        job_id = rig.order()
        job = rig.end(job_id)
        assert job.status == "failed"
        assert job.error is not None
        assert job.error["code"] == code
        assert words in job.error["detail"]
        assert rig.outcomes(job_id) == ["failed"]
        assert len(host.orders) == 1
        assert (rig.stored(), rig.runs()) == (0, [])

    def test_the_login_is_refused(self, make_rig: MakeRig, host: FakeSdnext) -> None:
        host.login = ("ada", "lovelace")
        rig = make_rig(host.url, user="ada", password="wrong")
        job = rig.end(rig.order())
        assert job.status == "failed"
        assert job.error is not None
        assert job.error["code"] == "backend_login_refused"
        assert rig.outcomes(job.id) == ["failed"]


class TestCancel:
    def test_while_it_runs(self, rig: Rig, host: FakeSdnext) -> None:
        host.step_s = 0.1
        job_id = rig.order(steps=100)
        assert host.began.wait(10)
        time.sleep(0.3)
        before = host.steps_done
        answer = rig.client.post(f"/v1/generation/jobs/{job_id}/cancel")
        assert answer.status_code == 200, answer.text
        assert rig.end(job_id).status == "cancelled"
        assert host.interrupts >= 1
        assert host.steps_done - before <= 3  # two, and the one that the request itself took
        assert host.finished == []
        assert (rig.stored(), rig.runs()) == (0, [])

    def test_that_the_backend_does_not_heed(self, rig: Rig, host: FakeSdnext) -> None:
        """It finishes later all the same: cancelled stays cancelled, and nothing is stored."""
        host.step_s, host.deaf = 0.1, True
        job_id = rig.order(steps=10)
        assert host.began.wait(10)
        rig.client.post(f"/v1/generation/jobs/{job_id}/cancel")
        assert rig.end(job_id).status == "cancelled"
        assert host.interrupts >= 1
        assert len(host.finished) == 1
        assert rig.application.services.get(Jobs).get(job_id).result is None
        assert (rig.stored(), rig.runs()) == (0, [])
        assert [e.data["status"] for e in rig.feed.of(job_id) if e.is_end] == ["cancelled"]

    def test_while_it_waits_for_another_try(self, make_rig: MakeRig) -> None:
        port = _free_port()
        rig = make_rig(f"http://127.0.0.1:{port}")
        job_id = rig.order()
        rig.wait_for_retry(job_id)
        answer = rig.client.post(f"/v1/generation/jobs/{job_id}/cancel")
        assert answer.status_code == 200, answer.text
        assert rig.end(job_id).status == "cancelled"
        with FakeSdnext(port) as host:
            assert rig.end(rig.order()).status == "succeeded"
            assert len(host.orders) == 1
