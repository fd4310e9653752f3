"""What every job queue promises. A new queue becomes one more parameter of `QUEUES`.

RQ's workers run here on threads of the test's process, so that closures can be handlers;
`test_worker_processes.py` has real worker processes.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import update

from lora_manager_core.common.clock import utc_after
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.errors import (
    BackendUnavailable,
    GenerationFailed,
    JobAlreadyFinished,
    JobNotFound,
)
from lora_manager_core.feed.base import COMPLETE, PROGRESS, STARTED, FeedEvent
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import (
    CANCELLED,
    ENDED,
    FAILED,
    GPU_LANE,
    LIBRARY_LANE,
    PENDING,
    RETRYING,
    RUNNING,
    SUCCEEDED,
    JobContext,
    JobHandler,
    JobOutcome,
    JobProgress,
    JobQueue,
)
from lora_manager_core.queueing.rq import RqQueue
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore, JobWriter
from lora_manager_core.queueing.threads import ThreadQueue
from tests.fakes.recorder import Recorder

#: Long enough for a slow machine; no test waits for it unless it fails.
_PATIENCE_S = 20.0

MakeQueue = Callable[[JobRunner, Mapping[str, int]], JobQueue]


def _threads(_request: pytest.FixtureRequest) -> MakeQueue:
    return ThreadQueue


def _rq(request: pytest.FixtureRequest) -> MakeQueue:
    redis_url, namespace = request.getfixturevalue("redis_url"), f"test-{uuid.uuid4().hex}"
    return lambda runner, lanes: RqQueue(redis_url, runner, lanes, namespace)


QUEUES = [
    pytest.param(_threads, id="threads"),
    pytest.param(_rq, id="rq", marks=pytest.mark.redis),
]


class Process:
    """What one process has of jobs: a runner, a feed, a queue. A second one is another process."""

    def __init__(self, database: Database, make_queue: MakeQueue, lanes: Mapping[str, int]) -> None:
        self.database = database
        self.heard = Recorder()
        self.feed = MemoryFeed()
        self.feed.subscribe(self.heard)
        self.runner = JobRunner(database, self.feed, first_pause_s=0.05)
        self.queue = make_queue(self.runner, lanes)
        self.jobs = Jobs(database, self.queue, self.feed, self.runner)

    def handle(self, handler: JobHandler, kind: str = "work") -> None:
        self.runner.register(kind, handler)

    def submit(self, kind: str = "work", lane: str = LIBRARY_LANE, **payload: Any) -> str:
        with self.database.write() as session:
            return self.jobs.submit(session, kind, lane, payload).id

    def wait(self, job_id: str) -> Job:
        job = self.jobs.wait(job_id, _PATIENCE_S)
        assert job.status in ENDED, f"the job is still {job.status}"
        return job

    def status(self, job_id: str) -> str:
        return self.jobs.get(job_id).status

    def outcomes(self, job_id: str) -> list[str | None]:
        with self.database.read() as session:
            return [attempt.outcome for attempt in JobStore(session).attempts(job_id)]

    def all_events_of(self, job_id: str) -> list[FeedEvent]:
        self.heard.wait_for_end(job_id, _PATIENCE_S)
        return self.heard.of(job_id)


OpenProcess = Callable[..., Process]


@pytest.fixture(params=QUEUES)
def open_process(
    request: pytest.FixtureRequest, database: Database
) -> Iterator[Callable[..., Process]]:
    """Opens processes that share one database; they are stopped after the test."""
    opened: list[Process] = []
    make_queue: MakeQueue = request.param(request)

    def _open(lanes: Mapping[str, int] | None = None) -> Process:
        opened.append(Process(database, make_queue, lanes or {LIBRARY_LANE: 1, GPU_LANE: 1}))
        return opened[-1]

    yield _open
    for process in opened:
        process.jobs.stop()


@pytest.fixture
def process(open_process: OpenProcess) -> Process:
    """One process with one worker for each lane, not started."""
    return open_process()


class Gate:
    """A handler that says when it has begun, waits until it may go on, then looks for a stop."""

    def __init__(self, *, heeds_stop: bool = True) -> None:
        self.began = threading.Event()
        self.may_go = threading.Event()
        self.passed = 0
        self._heeds_stop = heeds_stop

    def __call__(self, context: JobContext) -> Mapping[str, Any]:
        self.began.set()
        assert self.may_go.wait(_PATIENCE_S)
        if self._heeds_stop:
            context.raise_if_cancelled()
        self.passed += 1
        return {"passed": True}

    def wait_until_begun(self) -> None:
        assert self.began.wait(_PATIENCE_S)


class UntilStopped:
    """A handler that runs until it is stopped the first time, and succeeds at once after that."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.calls: list[Any] = []

    def __call__(self, context: JobContext) -> Mapping[str, Any]:
        self.calls.append(context.payload.get("number"))
        if len(self.calls) == 1:
            self.began.set()
            pause = threading.Event()
            while not context.is_cancelled():
                pause.wait(0.005)
            context.raise_if_cancelled()
        return {}


class TestRunning:
    def test_calls_the_handler_once_with_its_input_and_keeps_the_result(
        self, process: Process
    ) -> None:
        calls: list[dict[str, Any]] = []

        def handle(context: JobContext) -> Mapping[str, Any]:
            calls.append(dict(context.payload))
            return {"answer": 42}

        process.handle(handle)
        process.jobs.start()
        job = process.wait(process.submit(question="?"))

        assert calls == [{"question": "?"}]
        assert (job.status, job.result, job.error) == (SUCCEEDED, {"answer": 42}, None)
        assert (job.attempts, job.progress, job.lease_owner) == (1, 1.0, None)

    def test_takes_up_jobs_that_were_queued_before_the_start(self, process: Process) -> None:
        calls: list[str] = []
        process.handle(lambda context: calls.append(context.job_id) or {})
        queued = process.submit()

        process.jobs.start()

        assert process.wait(queued).status == SUCCEEDED
        assert calls == [queued]

    def test_never_sees_a_job_whose_unit_of_work_was_rolled_back(self, process: Process) -> None:
        calls: list[str] = []
        process.handle(lambda context: calls.append(context.job_id) or {})
        process.jobs.start()

        with pytest.raises(ZeroDivisionError), process.database.write() as session:
            process.jobs.submit(session, "work", LIBRARY_LANE, {"number": 1 // 0})
        kept = process.submit()

        process.wait(kept)
        assert calls == [kept]

    def test_starts_the_jobs_of_a_lane_in_the_order_they_came(self, process: Process) -> None:
        order: list[int] = []
        process.handle(lambda context: order.append(context.payload["number"]) or {})
        ids = [process.submit(number=number) for number in range(10)]

        process.jobs.start()
        process.wait(ids[-1])

        assert order == list(range(10))

    def test_works_on_two_lanes_at_once(self, process: Process) -> None:
        meeting = threading.Barrier(2)
        process.handle(lambda _context: {"met": meeting.wait(_PATIENCE_S) in (0, 1)})
        process.jobs.start()

        ids = [process.submit(lane=GPU_LANE), process.submit(lane=LIBRARY_LANE)]

        assert [process.wait(job_id).status for job_id in ids] == [SUCCEEDED, SUCCEEDED]

    def test_runs_200_jobs_exactly_once_with_four_workers(self, open_process: OpenProcess) -> None:
        process = open_process({LIBRARY_LANE: 4})
        calls: Counter[int] = Counter()
        lock = threading.Lock()

        def count(context: JobContext) -> Mapping[str, Any]:
            with lock:
                calls[context.payload["number"]] += 1
            return {}

        process.handle(count)
        process.jobs.start()
        with process.database.write() as session:
            ids = [
                process.jobs.submit(session, "work", LIBRARY_LANE, {"number": number}).id
                for number in range(200)
            ]

        assert {process.wait(job_id).status for job_id in ids} == {SUCCEEDED}
        assert calls == Counter(range(200))

    def test_runs_a_job_once_that_two_processes_have_queued(
        self, open_process: OpenProcess
    ) -> None:
        first, second = open_process(), open_process()
        calls: Counter[str] = Counter()
        lock = threading.Lock()

        def count(context: JobContext) -> Mapping[str, Any]:
            with lock:
                calls[context.job_id] += 1
            return {}

        first.handle(count)
        second.handle(count)
        ids = [first.submit() for _ in range(30)]
        for job_id in ids:
            second.queue.submit(LIBRARY_LANE, job_id)

        first.jobs.start()
        second.jobs.start()

        assert {first.wait(job_id).status for job_id in ids} == {SUCCEEDED}
        assert calls == Counter(ids)


class TestCancelling:
    def test_a_waiting_job_never_starts(self, process: Process) -> None:
        gate = Gate()
        calls: list[str] = []
        process.handle(gate, "gate")
        process.handle(lambda context: calls.append(context.job_id) or {})
        process.jobs.start()
        process.submit("gate")
        gate.wait_until_begun()
        waiting, after_it = process.submit(), process.submit()

        assert process.jobs.cancel(waiting).status == CANCELLED

        gate.may_go.set()
        process.wait(after_it)
        assert calls == [after_it]
        assert process.status(waiting) == CANCELLED

    def test_a_running_job_stops_when_it_looks_next(self, process: Process) -> None:
        gate = Gate()
        process.handle(gate)
        process.jobs.start()
        job_id = process.submit()
        gate.wait_until_begun()

        process.jobs.cancel(job_id)
        gate.may_go.set()

        assert process.wait(job_id).status == CANCELLED
        assert gate.passed == 0

    def test_reaches_a_job_that_was_queued_twice(self, open_process: OpenProcess) -> None:
        process = open_process({LIBRARY_LANE: 2})
        gate = Gate()
        process.handle(gate)
        process.handle(lambda _context: {}, "quick")
        process.jobs.start()
        job_id = process.submit()
        gate.wait_until_begun()
        process.queue.submit(LIBRARY_LANE, job_id)
        process.wait(process.submit("quick"))  # the second worker has put the doublet aside

        process.jobs.cancel(job_id)
        gate.may_go.set()

        assert process.wait(job_id).status == CANCELLED

    def test_holds_even_if_the_handler_finishes_after_it(self, process: Process) -> None:
        gate = Gate(heeds_stop=False)
        process.handle(gate)
        process.jobs.start()
        job_id = process.submit()
        gate.wait_until_begun()

        process.jobs.cancel(job_id)
        gate.may_go.set()

        job = process.wait(job_id)
        assert gate.passed == 1
        assert (job.status, job.result, job.error) == (CANCELLED, None, None)

    def test_holds_even_if_the_handler_fails_after_it(self, process: Process) -> None:
        began, may_go = threading.Event(), threading.Event()

        def fail(_context: JobContext) -> Mapping[str, Any]:
            began.set()
            may_go.wait(_PATIENCE_S)
            raise GenerationFailed("The backend was interrupted.")

        process.handle(fail)
        process.jobs.start()
        job_id = process.submit()
        assert began.wait(_PATIENCE_S)

        process.jobs.cancel(job_id)
        may_go.set()

        assert process.wait(job_id).status == CANCELLED

    def test_an_ended_job_is_refused(self, process: Process) -> None:
        process.handle(lambda _context: {})
        process.jobs.start()
        job_id = process.submit()
        process.wait(job_id)

        with pytest.raises(JobAlreadyFinished):
            process.jobs.cancel(job_id)
        assert process.status(job_id) == SUCCEEDED

    def test_an_unknown_job_is_refused(self, process: Process) -> None:
        with pytest.raises(JobNotFound):
            process.jobs.cancel("no-such-job")


class TestFailing:
    def test_keeps_the_code_and_words_of_one_of_our_errors(self, process: Process) -> None:
        def fail(_context: JobContext) -> Mapping[str, Any]:
            raise GenerationFailed("The model is too large. Choose a smaller one.")

        process.handle(fail)
        process.jobs.start()
        job = process.wait(process.submit())

        assert job.status == FAILED
        assert job.error == {
            "code": "generation_failed",
            "detail": "The model is too large. Choose a smaller one.",
            "status": 500,
        }

    def test_logs_the_trace_of_a_defect_and_tells_the_caller_none_of_it(
        self, process: Process, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(_context: JobContext) -> Mapping[str, Any]:
            raise ZeroDivisionError("secret words")

        process.handle(fail)
        process.jobs.start()
        job = process.wait(process.submit())

        assert job.status == FAILED
        assert job.error is not None
        assert job.error["code"] == "internal_error"
        assert job.id in job.error["detail"]
        assert not {"secret", "Traceback", "ZeroDivisionError"} & set(
            str(job.error).replace(".", " ").split()
        )
        assert "secret words" in caplog.text

    @pytest.mark.parametrize(
        "kind",
        [pytest.param("no-json", id="result-is-no-json"), pytest.param("?", id="no-handler")],
    )
    def test_a_defect_around_the_handler_ends_the_job_too(
        self, process: Process, kind: str
    ) -> None:
        process.handle(lambda _context: {"open file": object()}, "no-json")
        process.jobs.start()

        job = process.wait(process.submit(kind))

        assert (job.status, (job.error or {}).get("code")) == (FAILED, "internal_error")

    def test_leaves_the_worker_ready_for_the_next_job(self, process: Process) -> None:
        def fail(_context: JobContext) -> Mapping[str, Any]:
            raise ZeroDivisionError

        process.handle(fail, "bad")
        process.handle(lambda _context: {})
        process.jobs.start()
        process.submit("bad")

        assert process.wait(process.submit()).status == SUCCEEDED


class TestTryingAgain:
    """After failures that may pass, as often as the row allows."""

    def _submit(self, process: Process, retries: int) -> str:
        with process.database.write() as session:
            return process.jobs.submit(session, "work", LIBRARY_LANE, {}, retries_left=retries).id

    def test_goes_on_until_it_works(self, process: Process) -> None:
        calls: list[str] = []

        def handle(context: JobContext) -> Mapping[str, Any]:
            calls.append(context.job_id)
            context.report(JobProgress(0.5))
            if len(calls) < 3:
                raise BackendUnavailable("SD.Next is starting.")
            return {}

        process.handle(handle)
        process.jobs.start()
        job_id = self._submit(process, retries=5)

        job = process.wait(job_id)
        assert (job.status, job.error, job.retries_left) == (SUCCEEDED, None, 3)
        assert process.outcomes(job_id) == [FAILED, FAILED, SUCCEEDED]
        events = process.all_events_of(job_id)
        assert [event.type for event in (events[0], events[-1])] == [STARTED, COMPLETE]
        assert sum(event.type == STARTED for event in events) == 1
        waiting = [event.data for event in events if event.data.get("status") == "queued"]
        assert [data["error_message"] for data in waiting] == ["SD.Next is starting."] * 2

    def test_ends_as_failed_after_the_last_one(self, process: Process) -> None:
        def handle(_context: JobContext) -> Mapping[str, Any]:
            raise BackendUnavailable("Nobody listens there.")

        process.handle(handle)
        process.jobs.start()
        job_id = self._submit(process, retries=2)

        job = process.wait(job_id)
        assert (job.status, (job.error or {})["code"]) == (FAILED, "backend_unavailable")
        assert process.outcomes(job_id) == [FAILED, FAILED, FAILED]

    def test_is_not_done_for_what_will_not_pass(self, process: Process) -> None:
        def handle(_context: JobContext) -> Mapping[str, Any]:
            raise GenerationFailed("The sampler is unknown.")

        process.handle(handle)
        process.jobs.start()
        job_id = self._submit(process, retries=5)

        assert process.wait(job_id).status == FAILED
        assert process.outcomes(job_id) == [FAILED]

    def test_ends_with_a_cancel_between_two_tries(self, process: Process) -> None:
        process.runner = JobRunner(process.database, process.feed, first_pause_s=30.0)
        tried = threading.Event()

        def handle(_context: JobContext) -> Mapping[str, Any]:
            tried.set()
            raise BackendUnavailable("Nobody listens there.")

        process.handle(handle)
        job_id = self._submit(process, retries=5)
        assert process.runner.run(job_id) is True  # it may have worked elsewhere
        assert process.status(job_id) == RETRYING
        assert process.runner.run(job_id) is False  # not due yet: nothing happens
        assert process.outcomes(job_id) == [FAILED]

        assert process.jobs.cancel(job_id).status == CANCELLED


class TestOutcome:
    """What a handler made outside its result becomes true with the job's end, or not at all."""

    def test_rows_are_written_in_the_unit_of_work_that_ends_the_job(self, process: Process) -> None:
        seen: list[str] = []

        def handle(context: JobContext) -> JobOutcome:
            def store(session: WriteSession) -> None:
                seen.append(session.get_one(Job, context.job_id, populate_existing=True).status)

            return JobOutcome({"answer": 42}, store)

        process.handle(handle)
        process.jobs.start()

        assert process.wait(process.submit()).result == {"answer": 42}
        assert seen == [SUCCEEDED]

    def test_files_are_taken_back_if_the_job_was_cancelled_meanwhile(
        self, process: Process
    ) -> None:
        began, may_go = threading.Event(), threading.Event()
        done: list[str] = []

        def handle(_context: JobContext) -> JobOutcome:
            began.set()
            may_go.wait(_PATIENCE_S)
            return JobOutcome(
                {}, lambda _session: done.append("store"), lambda: done.append("undo")
            )

        process.handle(handle)
        process.jobs.start()
        job_id = process.submit()
        assert began.wait(_PATIENCE_S)
        process.jobs.cancel(job_id)
        may_go.set()

        assert process.wait(job_id).status == CANCELLED
        process.jobs.stop()
        assert done == ["undo"]


class TestStopping:
    def test_puts_the_running_job_back_and_the_next_start_finishes_it(
        self, open_process: OpenProcess
    ) -> None:
        before, after = open_process(), open_process()
        handler = UntilStopped()
        before.handle(handler)
        after.handle(handler)
        before.jobs.start()
        job_id = before.submit()
        assert handler.began.wait(_PATIENCE_S)

        before.jobs.stop()
        assert before.status(job_id) == RETRYING

        after.jobs.start()
        job = after.wait(job_id)
        assert job.status == SUCCEEDED
        assert after.outcomes(job_id) == ["released", SUCCEEDED]

    def test_starts_none_of_the_waiting_jobs(self, open_process: OpenProcess) -> None:
        before, after = open_process(), open_process()
        handler = UntilStopped()
        before.handle(handler)
        after.handle(handler)
        before.jobs.start()
        ids = [before.submit(number=number) for number in range(3)]
        assert handler.began.wait(_PATIENCE_S)

        before.jobs.stop()
        assert handler.calls == [0]
        assert [before.status(job_id) for job_id in ids] == [RETRYING, PENDING, PENDING]

        after.jobs.start()
        assert [after.wait(job_id).status for job_id in ids] == [SUCCEEDED] * 3
        assert handler.calls == [0, 0, 1, 2]

    def test_and_starting_again_in_one_process_finishes_what_was_left(
        self, process: Process
    ) -> None:
        handler = UntilStopped()
        process.handle(handler)
        process.jobs.start()
        ids = [process.submit(number=number) for number in range(2)]
        assert handler.began.wait(_PATIENCE_S)
        process.jobs.stop()

        process.jobs.start()

        assert [process.wait(job_id).status for job_id in ids] == [SUCCEEDED] * 2
        assert handler.calls == [0, 0, 1]
        for job_id in ids:
            types = [event.type for event in process.all_events_of(job_id)]
            assert types == [STARTED, COMPLETE]

    def test_a_job_that_somebody_cancelled_is_not_put_back(self, process: Process) -> None:
        gate = Gate()
        process.handle(gate)
        process.jobs.start()
        job_id = process.submit()
        gate.wait_until_begun()
        process.jobs.cancel(job_id)

        gate.may_go.set()
        process.jobs.stop()

        assert process.status(job_id) == CANCELLED

    def test_leaves_no_thread_behind(self, process: Process) -> None:
        before = set(threading.enumerate())
        process.handle(lambda _context: {})
        process.jobs.start()
        process.wait(process.submit())

        process.jobs.stop()

        assert set(threading.enumerate()) <= before

    def test_and_starting_twice_are_harmless(self, process: Process) -> None:
        calls: list[str] = []
        process.handle(lambda context: calls.append(context.job_id) or {})
        process.jobs.start()
        process.jobs.start()
        job_id = process.submit()
        process.wait(job_id)
        process.jobs.stop()
        process.jobs.stop()

        assert calls == [job_id]


class TestAfterACrash:
    def _left_running(
        self,
        process: Process,
        lease_s: float,
        attempts: int = 1,
        owner: str = "a process of which nothing is known",
    ) -> str:
        """A job that a process took and then died with, its lease ending in `lease_s`."""
        with process.database.write() as session:
            writer = JobWriter(session)
            job_id = writer.create("work", LIBRARY_LANE, {}).id
            for number in range(attempts):
                assert writer.claim(job_id, owner)
                ends_in_s = lease_s if number == attempts - 1 else -1
                session.execute(
                    update(Job).where(Job.id == job_id).values(lease_until=utc_after(ends_in_s))
                )
                if number < attempts - 1:
                    session.expire_all()
                    writer.release_abandoned()
            return job_id

    def test_a_job_whose_lease_has_run_out_is_taken_up_again(self, process: Process) -> None:
        job_id = self._left_running(process, lease_s=-1)
        process.handle(lambda _context: {})

        process.jobs.start()

        job = process.wait(job_id)
        assert (job.status, job.attempts) == (SUCCEEDED, 2)

    def test_a_job_that_was_abandoned_three_times_ends_as_failed(self, process: Process) -> None:
        job_id = self._left_running(process, lease_s=-1, attempts=3)
        calls: list[str] = []
        process.handle(lambda context: calls.append(context.job_id) or {})

        process.jobs.start()

        job = process.wait(job_id)
        assert (job.status, (job.error or {}).get("code")) == (FAILED, "job_abandoned")
        assert calls == []
        assert process.all_events_of(job_id)[-1].data["error_code"] == "job_abandoned"

    def test_a_job_of_a_process_that_is_gone_from_this_machine_waits_for_no_lease(
        self, process: Process
    ) -> None:
        print_owner = "from lora_manager_core.queueing.owner import new_owner; print(new_owner())"
        gone = subprocess.run(
            [sys.executable, "-c", print_owner], capture_output=True, text=True, check=True
        ).stdout.strip()
        job_id = self._left_running(process, lease_s=60, owner=gone)
        process.handle(lambda _context: {})

        process.jobs.start()

        assert process.wait(job_id).status == SUCCEEDED
        assert process.outcomes(job_id) == ["abandoned", SUCCEEDED]

    def test_a_job_whose_lease_still_runs_is_left_alone(self, process: Process) -> None:
        job_id = self._left_running(process, lease_s=60)
        process.handle(lambda _context: {})

        process.jobs.start()
        process.wait(process.submit())

        assert process.status(job_id) == RUNNING

    def test_a_job_that_was_to_be_cancelled_ends_as_cancelled(self, process: Process) -> None:
        job_id = self._left_running(process, lease_s=-1)
        with process.database.write() as session:
            assert JobWriter(session).request_cancel(job_id)

        process.jobs.start()

        assert process.status(job_id) == CANCELLED
        assert [event.type for event in process.all_events_of(job_id)] == [COMPLETE]


class TestFeed:
    def test_tells_one_start_rising_progress_and_one_end(self, process: Process) -> None:
        def work(context: JobContext) -> Mapping[str, Any]:
            for fraction in (0.1, 0.5, 0.3, 0.9, 1.7):
                context.report(JobProgress(fraction))
            return {"images": ["a.png"]}

        process.handle(work)
        process.jobs.start()
        job_id = process.submit()
        process.wait(job_id)

        events = process.all_events_of(job_id)
        assert [event.type for event in events] == [STARTED, *[PROGRESS] * 5, COMPLETE]
        assert [e.data["progress"] for e in events[1:-1]] == [0.1, 0.5, 0.5, 0.9, 1.0]
        assert (events[-1].data["status"], events[-1].data["images"]) == ("completed", ["a.png"])

    def test_tells_the_end_only_when_it_can_be_read_from_the_database(
        self, process: Process
    ) -> None:
        process.handle(lambda _context: {})
        seen: list[str] = []

        def look(event: FeedEvent) -> None:
            if event.is_end:
                seen.append(process.status(event.job_id))

        process.feed.subscribe(look)
        process.jobs.start()
        process.wait(process.submit())
        process.jobs.stop()  # the worker has told everything once it is gone

        assert seen == [SUCCEEDED]

    def test_tells_why_a_job_failed(self, process: Process) -> None:
        def fail(_context: JobContext) -> Mapping[str, Any]:
            raise GenerationFailed("No picture came back.")

        process.handle(fail)
        process.jobs.start()
        job_id = process.submit()
        process.wait(job_id)

        end = process.all_events_of(job_id)[-1].data
        assert (end["status"], end["error_code"], end["error_message"]) == (
            "failed",
            "generation_failed",
            "No picture came back.",
        )

    def test_tells_the_end_of_a_job_cancelled_before_it_began(self, process: Process) -> None:
        job_id = process.submit()

        process.jobs.cancel(job_id)

        (end,) = process.all_events_of(job_id)
        assert (end.type, end.data["status"]) == (COMPLETE, "cancelled")


class TestWaiting:
    def test_gives_up_at_the_time_named_and_tells_the_state(self, process: Process) -> None:
        job_id = process.submit()

        assert process.jobs.wait(job_id, timeout_s=0.05).status == PENDING
