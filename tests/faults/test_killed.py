"""Killed (SIGKILL) at each of its commits and started again: nothing lost, doubled or left running.

Every change of a job's state is a commit. The program dies right before the first, the second and
so on, until it has lived through all of them. What lies between two commits (a picture in its file)
is there then, and is missing where it dies right after one.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from lora_manager_core.backends.infotext import read_infotext
from lora_manager_core.db.models import GenerationRun, Job, JobAttempt, Result, ResultImage
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.base import CANCELLED, SUCCEEDED
from tests.fakes.killed import Case, Program

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the program runs cases in forks")


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    """One for all cases."""
    with Program() as running:
        yield running


class Story:
    """What callers were told over all lives of the program, and what has to be true of it."""

    def __init__(self, program: Program, database: Database, folder: Path) -> None:
        self._program = program
        self._database = database
        self._folder = folder
        self._accepted: set[str] = set()
        self._cancelled: set[str] = set()
        self._by_key: dict[str, str] = {}

    def live(self, case: Case) -> bool:
        """Run one life; gives whether it was killed."""
        ended = self._program.run(case)
        for what, job_id in ended.told.items():
            self._accepted.add(job_id)
            if what == "cancelled":
                self._cancelled.add(job_id)
            elif what != "accepted":
                known = self._by_key.setdefault(what, job_id)
                assert known == job_id, "two jobs for one key"
        return ended.killed

    def check(self, may_be_cancelled: bool) -> None:
        """Every job has ended as it should, exactly once, with all that belongs to it."""
        with self._database.read() as session:
            jobs = {job.id: job for job in session.scalars(select(Job))}
            attempts = list(
                session.scalars(select(JobAttempt).order_by(JobAttempt.job_id, JobAttempt.number))
            )
            results = Counter(session.scalars(select(Result.job_id)))
            images = list(session.scalars(select(ResultImage)))
            runs = Counter(session.scalars(select(GenerationRun.job_id)))

        assert self._accepted <= set(jobs), "a job was lost"
        for job in jobs.values():
            if job.id in self._cancelled:
                assert job.status == CANCELLED, "a cancel was forgotten"
            allowed = {SUCCEEDED, CANCELLED} if may_be_cancelled else {SUCCEEDED}
            assert job.status in allowed, (job.status, job.error)
            assert (job.lease_owner, job.lease_until) == (None, None)
            assert (job.result is not None) == (job.status == SUCCEEDED)
        succeeded = {job.id for job in jobs.values() if job.status == SUCCEEDED}
        assert results == Counter(succeeded)
        assert runs == Counter(succeeded)
        assert Counter(image.job_id for image in images) == dict.fromkeys(succeeded, 2)

        assert all(attempt.outcome for attempt in attempts), "an attempt is left running"
        ended_well = Counter(a.job_id for a in attempts if a.outcome == SUCCEEDED)
        assert ended_well == Counter(succeeded)
        for one, next_one in pairwise(attempts):
            if one.job_id == next_one.job_id:
                assert (one.ended_at or "") <= next_one.started_at, "two attempts at once"

        files = {path for path in (self._folder / "outputs").rglob("*") if path.is_file()}
        assert files == {Path(image.file_path) for image in images}
        for stored in images:
            with Image.open(stored.file_path) as picture:
                picture.load()
                assert picture.size == (stored.width, stored.height)
            assert read_infotext(Path(stored.file_path).read_bytes()) == stored.infotext


@pytest.mark.parametrize(
    ("scenario", "next_life", "before", "at_least"),
    [
        # A caller who got no answer sends the same again under the same key.
        pytest.param("deliver", "deliver", True, 4, id="before, a delivery"),
        pytest.param("deliver", "deliver", False, 4, id="after, a delivery"),
        pytest.param("compose", "recover", True, 4, id="before, a composition that is delivered"),
        pytest.param(
            "cancel a waiting job", "recover", True, 6, id="before, a waiting job's cancel"
        ),
        pytest.param(
            "cancel a running job", "recover", True, 5, id="before, a running job's cancel"
        ),
        pytest.param("try again", "recover", True, 6, id="before, another try after a failure"),
        pytest.param("stop", "recover", True, 5, id="before, a stop in order"),
        pytest.param("stop", "recover", False, 5, id="after, a stop in order"),
        pytest.param("recover", "recover", True, 4, id="before, the start after a kill"),
    ],
)
def test_nothing_is_lost_doubled_or_left_running(
    program: Program,
    database: Database,
    database_url: str,
    tmp_path: Path,
    scenario: str,
    next_life: str,
    before: bool,
    at_least: int,
) -> None:
    story = Story(program, database, tmp_path)
    for number in count(1):
        case = Case(str(tmp_path), database_url, scenario, uuid.uuid4().hex, number, before)
        if scenario == "recover":
            assert story.live(replace(case, scenario="abandon", kill_at=0))
        killed = story.live(case)
        assert not story.live(replace(case, scenario=next_life, kill_at=0))
        story.check(may_be_cancelled="cancel" in scenario)
        if not killed:
            break
    assert number > at_least, "the program was killed less often than the scenario has commits"
