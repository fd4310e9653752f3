"""What `Jobs` does whichever queue carries them; `tests/contracts/test_queue.py` has the rest."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import event, update

from lora_manager_core.common.clock import utc_after
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import LIBRARY_LANE, RETRYING
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobWriter
from tests.fakes.queue import FakeQueue


class TestStart:
    def test_queues_every_job_that_was_left_however_many(self, database: Database) -> None:
        with database.write() as session:
            writer = JobWriter(session)
            left = [writer.create("work", LIBRARY_LANE, {}).id for _ in range(1100)]
        queue = FakeQueue()
        feed = MemoryFeed()
        jobs = Jobs(database, queue, feed, JobRunner(database, feed))

        jobs.start()
        jobs.stop()

        assert len(queue.submitted) == 1100
        assert set(queue.submitted) == set(left)


class TestLooking:
    def test_misses_no_job_that_becomes_due_between_two_queries(self, database: Database) -> None:
        queue, feed = FakeQueue(), MemoryFeed()
        jobs = Jobs(database, queue, feed, JobRunner(database, feed))
        with database.write() as session:
            job_id = JobWriter(session).create("work", LIBRARY_LANE, {}).id
            session.execute(update(Job).values(status=RETRYING, not_before=utc_after(0.5)))
        slept = []

        def _be_slow(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            if "not_before" in statement.partition("WHERE")[2] and not slept:
                slept.append(time.sleep(0.8))

        event.listen(database.engine, "after_cursor_execute", _be_slow)

        pause_s = jobs.look_after()

        assert slept
        assert queue.submitted == [job_id] or pause_s < 1
