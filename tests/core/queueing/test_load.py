"""What is told of a queue: counts from the rows, time from measured paces, or why there is none."""

from __future__ import annotations

from typing import Any

import pytest

from lora_manager_core.common.clock import utc_after
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import GPU_LANE, LIBRARY_LANE, JobQueue
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobWriter
from tests.fakes.queue import FakeQueue


def _jobs(database: Database, queue: JobQueue) -> Jobs:
    feed = MemoryFeed()
    return Jobs(database, queue, feed, JobRunner(database, feed))


def _add(database: Database, **columns: Any) -> None:
    """A job row as it stands in the database."""
    with database.write() as session:
        job = JobWriter(session).create(
            columns.pop("kind", "picture"), columns.pop("lane", GPU_LANE), {}
        )
        for name, value in columns.items():
            setattr(job, name, value)


@pytest.fixture
def measured(database: Database) -> Database:
    """Pictures have been made at 1, 2 and 9 seconds per unit of work: the median is 2."""
    for work, finished in ((10.0, "12:00:10"), (2.0, "12:00:04"), (1.0, "12:00:09")):
        _add(
            database,
            status="succeeded",
            work=work,
            started_at="2026-07-01T12:00:00.000000Z",
            finished_at=f"2026-07-01T{finished}.000000Z",
        )
    return database


class TestCounting:
    def test_counts_what_waits_and_what_runs_in_all_lanes(self, database):
        _add(database)
        _add(database, status="retrying", not_before=utc_after(60))
        _add(database, status="running", lane=LIBRARY_LANE, kind="scan")
        _add(database, status="failed")
        load = _jobs(database, FakeQueue([GPU_LANE, LIBRARY_LANE])).load()
        assert (load.waiting, load.running) == (2, 1)
        assert [worker.lanes for worker in load.workers] == [(GPU_LANE,), (LIBRARY_LANE,)]

    def test_says_that_the_queue_cannot_be_reached(self, database):
        load = _jobs(database, FakeQueue([], "Redis does not answer.")).load()
        assert (load.problem, load.workers) == ("Redis does not answer.", ())


class TestTimeLeft:
    def test_nothing_to_do_takes_no_time(self, database):
        load = _jobs(database, FakeQueue([])).load()
        assert (load.eta_s, load.eta_unknown) == (0.0, None)

    @pytest.mark.parametrize(("workers", "seconds"), [(1, 17.0), (2, 8.5)])
    def test_is_the_work_left_at_the_measured_pace_shared_by_the_workers(
        self, measured, workers, seconds
    ):
        _add(measured, work=3.0)
        _add(measured, work=2.5, status="retrying")
        _add(measured, work=4.0, status="running", progress=0.25)
        _add(measured, work=1000.0, lane=LIBRARY_LANE, kind="scan")
        load = _jobs(measured, FakeQueue([GPU_LANE] * workers + [LIBRARY_LANE])).load()
        assert load.eta_s == pytest.approx(seconds)

    def test_is_unknown_before_a_job_of_that_kind_has_succeeded(self, measured):
        _add(measured, kind="sweep")
        load = _jobs(measured, FakeQueue([GPU_LANE])).load()
        assert load.eta_s is None
        assert "“sweep” has succeeded" in str(load.eta_unknown)

    def test_is_what_the_only_running_job_says_of_itself_before_a_pace_is_known(self, database):
        _add(database, status="running", eta_s=12.0)
        jobs = _jobs(database, FakeQueue([GPU_LANE]))
        assert jobs.load().eta_s == 12.0
        _add(database, status="running")
        assert jobs.load().eta_s is None

    def test_is_unknown_where_nobody_works(self, measured):
        _add(measured)
        load = _jobs(measured, FakeQueue([LIBRARY_LANE])).load()
        assert (load.eta_s, load.eta_unknown) == (None, "No worker takes the jobs of the GPU.")
