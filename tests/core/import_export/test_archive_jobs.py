"""The jobs of archives over HTTP: listed, cancelled; what a start does with files of theirs."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.import_export.archive_jobs import ArchiveJobs
from lora_manager_core.import_export.kinds import ARCHIVE_JOBS, BACKUP_JOB
from lora_manager_core.queueing.owner import new_owner
from lora_manager_core.queueing.service import Jobs
from tests.core.conftest import Home

URL = "/v1/import-export/jobs"
IDS = {kind: f"7d1c5a0e-0000-4000-8000-00000000000{n}" for n, kind in enumerate(ARCHIVE_JOBS)}


def _add(home: Home, kind: str, status: str, **more: Any) -> str:
    job_id = IDS.get(kind, "7d1c5a0e-0000-4000-8000-0000000000ff")
    with home.application.services.get(Database).write() as session:
        session.add(
            Job(
                id=job_id,
                kind=kind,
                lane="nowhere",
                status=status,
                payload={"backup_type": "full", "reason": "by hand"},
                created_at=f"2026-01-0{1 + len(kind) % 9}T00:00:00.000000Z",
                **more,
            )
        )
    return job_id


class TestLooking:
    def test_lists_the_four_kinds_and_no_others(self, home):
        for kind in ARCHIVE_JOBS:
            _add(home, kind, "failed", error={"code": "x", "detail": "y"})
        jobs = home.client.get(URL).json()
        assert {job["kind"] for job in jobs} == set(ARCHIVE_JOBS)
        assert [job["created_at"] for job in jobs] == sorted(
            (job["created_at"] for job in jobs), reverse=True
        )
        assert len(home.client.get(URL, params={"limit": 2}).json()) == 2

    def test_one_by_its_id_also_at_the_short_address(self, home):
        job_id = _add(home, BACKUP_JOB, "failed", error={"code": "x", "detail": "y"})
        shown = home.client.get(f"{URL}/{job_id}").json()
        assert (shown["id"], shown["error"]["detail"]) == (job_id, "y")
        assert home.client.get(f"/v1/jobs/{job_id}").json() == shown

    @pytest.mark.parametrize(("method", "end"), [("GET", ""), ("POST", "/cancel")])
    def test_others_are_not_found(self, home, method, end):
        other = _add(home, "library.scan", "succeeded")
        for job_id in (other, "ghost"):
            answer = home.client.request(method, f"{URL}/{job_id}{end}")
            assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


class TestCancelling:
    def test_one_that_waits(self, home):
        job_id = _add(home, BACKUP_JOB, "pending")
        answer = home.client.post(f"{URL}/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        again = home.client.post(f"{URL}/{job_id}/cancel")
        assert (again.status_code, again.json()["code"]) == (409, "job_already_finished")

    def test_who_waits_for_it_is_told(self, home):
        jobs = home.application.services.get(Jobs)
        database = home.application.services.get(Database)
        begun: list[str] = []
        submitted = threading.Event()

        def _submit() -> Job:
            with database.write() as session:
                job = jobs.submit(session, BACKUP_JOB, "nowhere", {})
            begun.append(job.id)
            submitted.set()
            return job

        told: list[BaseException] = []

        def _wait() -> None:
            try:
                home.application.services.get(ArchiveJobs).wait_for(_submit)
            except Exception as error:  # noqa: BLE001 - looked at below
                told.append(error)

        thread = threading.Thread(target=_wait)
        thread.start()
        assert submitted.wait(10)
        home.client.post(f"{URL}/{begun[0]}/cancel")
        thread.join(20)
        [error] = told
        assert error.extra["job_id"] == begun[0]
        assert "cancelled" in error.detail


class TestWhatAStartMayDo:
    """With files that a job moved: finish, undo, or leave them to whoever is at it."""

    @pytest.mark.parametrize(
        ("status", "owner", "state"),
        [
            pytest.param("succeeded", None, "succeeded", id="ended well"),
            pytest.param("failed", None, "over", id="failed"),
            pytest.param("cancelled", None, "over", id="cancelled"),
            pytest.param("running", "dead", "over", id="its process is dead"),
            pytest.param("running", "alive", "alive", id="its process lives"),
            pytest.param("running", "elsewhere", "alive", id="nobody knows"),
            pytest.param("retrying", None, "alive", id="waits for another try"),
        ],
    )
    def test_is_told_by_its_row(self, home, status, owner, state):
        lease = {"dead": _dead(), "alive": new_owner(), "elsewhere": "x"}.get(owner)
        job_id = _add(home, "archive.import", status, lease_owner=lease, lease_until="9")
        assert home.application.services.get(ArchiveJobs).state(job_id) == state

    def test_without_a_row_it_is_over(self, home):
        assert home.application.services.get(ArchiveJobs).state("ghost") == "over"


def _dead() -> str:
    """The name of a process of this machine that is no more."""
    machine, _, started, image, lease = new_owner().split("/")
    return "/".join((machine, "4194303", started, image, lease))
