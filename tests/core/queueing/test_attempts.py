"""How one attempt at a job ends: once, whatever becomes of the database and of its lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from lora_manager_core.common.clock import utc_after, utc_now
from lora_manager_core.db.models import Choice, Job
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.errors import GenerationFailed
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import (
    FAILED,
    LIBRARY_LANE,
    RUNNING,
    SUCCEEDED,
    JobContext,
    JobHandler,
    JobOutcome,
    JobProgress,
)
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.running import RunningJob
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore, JobWriter
from lora_manager_core.queueing.threads import ThreadQueue
from tests.fakes.outage import Outage
from tests.fakes.recorder import Recorder

_PATIENCE_S = 20.0
_WATCH_S = 0.3


class Bench:
    """One process with its jobs; `run` runs one to its end on the calling thread."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.feed, self.heard = MemoryFeed(), Recorder()
        self.feed.subscribe(self.heard)
        self.runner = JobRunner(database, self.feed, first_pause_s=0.01)
        self.queue = ThreadQueue(self.runner, {LIBRARY_LANE: 2})
        self.jobs = Jobs(database, self.queue, self.feed, self.runner, watch_s=_WATCH_S)

    def create(self, handler: JobHandler, **more: Any) -> str:
        self.runner.register("work", handler)
        with self.database.write() as session:
            return JobWriter(session).create("work", LIBRARY_LANE, {}, **more).id

    def run(self, handler: JobHandler, **more: Any) -> Job:
        job_id = self.create(handler, **more)
        self.runner.run(job_id)
        return self.jobs.get(job_id)

    def change(self, job_id: str, **values: Any) -> None:
        with self.database.write() as session:
            session.execute(update(Job).where(Job.id == job_id).values(**values))

    def outcomes(self, job_id: str) -> list[str | None]:
        with self.database.read() as session:
            return [attempt.outcome for attempt in JobStore(session).attempts(job_id)]

    def ends(self, job_id: str) -> list[str]:
        return [e.data["status"] for e in self.heard.of(job_id) if e.is_end]

    def noted(self) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(Choice.name)))


@pytest.fixture
def bench(database: Database) -> Iterator[Bench]:
    opened = Bench(database)
    yield opened
    opened.jobs.stop()


class Held:
    """A handler whose calls wait, each until it is let go."""

    def __init__(self) -> None:
        self.calls: list[JobContext] = []
        self.taken_back: list[int] = []
        self._began = threading.Condition()
        self._may_go: list[threading.Event] = []

    def __call__(self, context: JobContext) -> JobOutcome:
        gate = threading.Event()
        with self._began:
            self.calls.append(context)
            self._may_go.append(gate)
            number = len(self.calls)
            self._began.notify_all()
        assert gate.wait(_PATIENCE_S)
        return JobOutcome({"call": number}, undo=lambda: self.taken_back.append(number))

    def wait_for_call(self, number: int) -> JobContext:
        with self._began:
            assert self._began.wait_for(lambda: len(self.calls) >= number, _PATIENCE_S)
            return self.calls[number - 1]

    def let_go(self, number: int) -> None:
        self._may_go[number - 1].set()


@pytest.fixture
def held() -> Iterator[Held]:
    handler = Held()
    yield handler
    for number in range(len(handler.calls)):
        handler.let_go(number + 1)


def _in_thread(call: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    return thread


def _note(session: WriteSession) -> None:
    session.add(Choice(name="noted", value=True))
    session.flush()


class TestDatabaseGoneWhenAJobEnds:
    def test_for_a_moment_the_end_is_stored_once_it_is_back(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        outage = Outage(bench.database, units=3)

        def _handler(_context: JobContext) -> JobOutcome:
            outage.__enter__()
            return JobOutcome({"made": 1}, _note)

        try:
            job = bench.run(_handler)
        finally:
            outage.__exit__(None, None, None)

        assert outage.refused == 3
        assert (job.status, job.result) == (SUCCEEDED, {"made": 1})
        assert bench.outcomes(job.id) == [SUCCEEDED]
        assert bench.ends(job.id) == ["completed"]
        assert bench.noted() == ["noted"]
        assert "was not stored" in caplog.text

    def test_and_only_its_answer_was_lost_the_end_is_neither_stored_nor_told_twice(
        self, bench: Bench
    ) -> None:
        outage = Outage(bench.database, units=1, after_commit=True)

        def _handler(_context: JobContext) -> JobOutcome:
            outage.__enter__()
            return JobOutcome({"made": 1}, _note)

        try:
            job = bench.run(_handler)
        finally:
            outage.__exit__(None, None, None)

        assert outage.refused == 1
        assert (job.status, job.result) == (SUCCEEDED, {"made": 1})
        assert bench.ends(job.id) == ["completed"]
        assert bench.noted() == ["noted"]

    def test_for_good_the_job_is_left_to_its_lease_and_begun_again(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        outage = Outage(bench.database)

        def _handler(_context: JobContext) -> JobOutcome:
            if not outage.refused:
                outage.__enter__()
            return JobOutcome({}, _note)

        job_id = bench.create(_handler)
        try:
            bench.runner.run(job_id)
        finally:
            outage.__exit__(None, None, None)

        assert "could not be stored" in caplog.text
        assert bench.jobs.get(job_id).status == RUNNING
        assert bench.runner.leases() == frozenset()  # nothing here renews it any more
        assert not [t for t in threading.enumerate() if t.name == "job-heartbeat"]

        bench.change(job_id, lease_until=utc_after(-1))
        bench.jobs.start()
        assert bench.jobs.wait(job_id, _PATIENCE_S).status == SUCCEEDED
        assert bench.outcomes(job_id) == ["abandoned", SUCCEEDED]
        assert bench.noted() == ["noted"]

    def test_while_the_process_stops_the_stop_is_not_held_up(self, bench: Bench) -> None:
        outage = Outage(bench.database)

        def _handler(_context: JobContext) -> Mapping[str, Any]:
            outage.__enter__()
            bench.runner.stop_all()
            return {}

        try:
            with pytest.raises(OperationalError):  # when `run` looks at the job
                bench.run(_handler)
        finally:
            outage.__exit__(None, None, None)

        assert outage.refused == 2  # the end once, and the look


class TestDatabaseGoneWhileAJobRuns:
    def test_its_progress_is_told_and_the_job_goes_on(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        def _handler(context: JobContext) -> Mapping[str, Any]:
            with Outage(bench.database) as outage:
                context.report(JobProgress(0.5, 1, 2))
            return {"refused": outage.refused}

        job = bench.run(_handler)

        assert (job.status, job.result) == (SUCCEEDED, {"refused": 1})
        assert 0.5 in [event.data.get("progress") for event in bench.heard.of(job.id)]
        assert "was not renewed" in caplog.text


class TestWhatAHandlerStores:
    def test_an_error_of_ours_in_it_fails_the_job_and_takes_everything_back(
        self, bench: Bench
    ) -> None:
        taken_back: list[bool] = []

        def _store(session: WriteSession) -> None:
            _note(session)
            raise GenerationFailed("The disk is full.")

        job = bench.run(lambda _: JobOutcome({}, _store, lambda: taken_back.append(True)))

        assert (job.status, (job.error or {})["detail"]) == (FAILED, "The disk is full.")
        assert job.result is None
        assert bench.noted() == []
        assert taken_back == [True]
        assert bench.ends(job.id) == ["failed"]

    def test_a_defect_in_it_fails_the_job_and_is_logged(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        def _store(session: WriteSession) -> None:
            _note(session)
            session.expunge_all()
            _note(session)

        job = bench.run(lambda _context: JobOutcome({}, _store))

        assert (job.status, (job.error or {})["code"]) == (FAILED, "internal_error")
        assert IntegrityError.__name__ in caplog.text
        assert bench.noted() == []


class TestALeaseThatWasLost:
    def test_its_attempt_neither_ends_the_job_nor_tells_an_end(
        self, bench: Bench, held: Held
    ) -> None:
        job_id = bench.create(held)
        first = _in_thread(bench.runner.run, job_id)
        held.wait_for_call(1)
        with bench.database.write() as session:  # by another process, which had waited long enough
            session.execute(update(Job).values(lease_until=utc_after(-1)))
            JobWriter(session).release_abandoned()
            assert JobWriter(session).claim(job_id, "of another process")

        held.let_go(1)
        first.join(_PATIENCE_S)

        job = bench.jobs.get(job_id)
        assert (job.status, job.lease_owner) == (RUNNING, "of another process")
        assert bench.outcomes(job_id) == ["abandoned", None]
        assert bench.ends(job_id) == []
        assert held.taken_back == []  # both attempts may have made the same files

    def test_and_taken_again_in_the_same_process_is_ended_by_the_second_attempt_only(
        self, bench: Bench, held: Held
    ) -> None:
        job_id = bench.create(held)
        first = _in_thread(bench.runner.run, job_id)
        held.wait_for_call(1)
        bench.change(job_id, lease_until=utc_after(-1))
        with bench.database.write() as session:
            JobWriter(session).release_abandoned()
        second = _in_thread(bench.runner.run, job_id)
        held.wait_for_call(2)

        held.let_go(1)
        first.join(_PATIENCE_S)
        after_the_first = bench.jobs.get(job_id).status
        held.let_go(2)
        second.join(_PATIENCE_S)

        job = bench.jobs.get(job_id)
        assert (after_the_first, job.status, job.result) == (RUNNING, SUCCEEDED, {"call": 2})
        assert bench.outcomes(job_id) == ["abandoned", SUCCEEDED]
        assert bench.ends(job_id) == ["completed"]


class TestAProcessThatStoodStill:
    """Stopped for longer than a lease lasts (SIGSTOP, a sleeping laptop), it goes on."""

    def _attempt(self, bench: Bench, job_id: str) -> RunningJob:
        with bench.database.write() as session:
            assert JobWriter(session).claim(job_id, "mine")
        bench.change(job_id, lease_until=utc_after(-1))
        return RunningJob(
            bench.jobs.get(job_id), bench.database, bench.feed, "mine", threading.Event()
        )

    def test_goes_on_and_renews_its_lease_if_nobody_took_the_job(self, bench: Bench) -> None:
        job_id = bench.create(lambda _context: {})
        attempt = self._attempt(bench, job_id)

        assert not attempt.is_cancelled()
        assert (bench.jobs.get(job_id).lease_until or "") > utc_now()

    def test_stops_at_its_next_look_if_somebody_took_it(self, bench: Bench) -> None:
        job_id = bench.create(lambda _context: {})
        attempt = self._attempt(bench, job_id)
        bench.change(job_id, lease_owner="of another process", lease_until=utc_after(60))

        assert attempt.is_cancelled()

    def test_stops_at_its_next_look_if_somebody_cancelled_it(self, bench: Bench) -> None:
        job_id = bench.create(lambda _context: {})
        attempt = self._attempt(bench, job_id)
        bench.change(job_id, cancel_requested=True)

        assert attempt.is_cancelled()

    def test_does_not_ask_a_database_that_is_gone_at_every_step(self, bench: Bench) -> None:
        job_id = bench.create(lambda _context: {})
        attempt = self._attempt(bench, job_id)

        with Outage(bench.database) as outage:
            assert [attempt.is_cancelled() for _ in range(50)] == [False] * 50
        assert outage.refused == 1


class TestTheKeeper:
    def test_takes_no_job_from_the_process_it_is_in(self, bench: Bench, held: Held) -> None:
        job_id = bench.create(held)
        bench.jobs.start()
        held.wait_for_call(1)

        bench.change(job_id, lease_until=utc_after(-1))
        for _ in range(3):
            bench.jobs.look_after()
            time.sleep(_WATCH_S)
        bench.jobs.look_after()

        assert bench.jobs.get(job_id).status == RUNNING
        assert bench.outcomes(job_id) == [None]

    def test_watches_an_overdue_lease_before_it_takes_the_job(self, bench: Bench) -> None:
        """Its holder may have slept with the whole machine, or have another clock."""
        bench.jobs.look_after()
        job_id = bench.create(lambda _context: {})
        with bench.database.write() as session:
            assert JobWriter(session).claim(job_id, "elsewhere")

        for _ in range(3):  # renewed by a clock that is late: overdue each time, and alive
            bench.change(job_id, lease_until=utc_after(-1))
            bench.jobs.look_after()
            bench.change(job_id, lease_until=utc_after(60))
            bench.jobs.look_after()
            time.sleep(_WATCH_S / 2)
        assert bench.jobs.get(job_id).status == RUNNING

        bench.change(job_id, lease_until=utc_after(-1))
        bench.jobs.look_after()
        assert bench.jobs.get(job_id).status == RUNNING
        time.sleep(_WATCH_S)
        bench.jobs.look_after()
        assert bench.outcomes(job_id) == ["abandoned"]

    def test_survives_what_it_did_not_expect(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.jobs.start()
        with Outage(bench.database) as outage:
            bench.runner.on_put_off()  # wakes it
            give_up_at = time.monotonic() + _PATIENCE_S
            while "not looked after" not in caplog.text and time.monotonic() < give_up_at:
                time.sleep(0.01)
        assert outage.refused == 1

        job_id = bench.create(lambda _context: {})  # told to nobody: only the keeper can find it
        bench.runner.on_put_off()
        assert bench.jobs.wait(job_id, _PATIENCE_S).status == SUCCEEDED

    def test_does_not_wait_for_a_pause_that_a_clock_set_back_has_made_endless(
        self, bench: Bench
    ) -> None:
        job_id = bench.create(lambda _context: {}, not_before=utc_after(3600))
        bench.jobs.start()

        assert bench.jobs.wait(job_id, _PATIENCE_S).status == SUCCEEDED
