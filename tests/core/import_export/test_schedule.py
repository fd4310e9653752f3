"""Backups that are made by themselves: when one is due, whether there is need, which are kept."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from lora_manager_core.common.clock import seconds_between, utc_after, utc_now
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.import_export.backups.folder import BackupFolder, StoredBackup
from lora_manager_core.import_export.backups.job import BackupJob
from lora_manager_core.import_export.backups.schedule import BackupScheduler, ScheduleService
from lora_manager_core.import_export.job_repository import ArchiveJobStore
from lora_manager_core.import_export.kinds import BACKUP_JOB
from lora_manager_core.import_export.schemas import Backup, BackupSchedule
from lora_manager_core.queueing.base import JobCancelled
from lora_manager_core.queueing.service import Jobs
from tests.core.conftest import Home
from tests.fakes.running_job import FakeContext

URL = "/v1/import-export"
DAY_S = 24 * 3600.0


def _schedule(home: Home) -> ScheduleService:
    return home.application.services.get(ScheduleService)


def _asked_for(home: Home) -> list[Job]:
    """Jobs of the schedule, newest first, all ended."""
    database = home.application.services.get(Database)
    jobs = home.application.services.get(Jobs)
    with database.read() as session:
        found = ArchiveJobStore(session).newest(100, (BACKUP_JOB,))
    ids = [job.id for job in found if job.payload["reason"] == "schedule"]
    return [jobs.wait(job_id, 60) for job_id in ids]


def _look(home: Home) -> float | None:
    due_s = _schedule(home).look()
    _asked_for(home)
    return due_s


def _history(home: Home) -> list[Backup]:
    return [Backup.model_validate(b) for b in home.client.get(f"{URL}/backups/history").json()]


def _a_day_passes(home: Home) -> None:
    """All backups so far are a day older."""
    database = home.application.services.get(Database)
    with database.write() as session:
        for job in ArchiveJobStore(session).newest(100, (BACKUP_JOB,)):
            earlier = utc_after(seconds_between(utc_now(), job.created_at) - DAY_S - 1)
            session.execute(update(Job).where(Job.id == job.id).values(created_at=earlier))
    folder = BackupFolder(home.application.settings.data_dir / "backups")
    for backup in folder.list():
        path = folder.file(backup)
        note = path.with_suffix(".json")
        earlier = utc_after(seconds_between(utc_now(), backup.created_at) - DAY_S - 1)
        note.write_text(note.read_text().replace(backup.created_at, earlier))


def _write_something(home: Home, text: str) -> None:
    alice = home.adapter("alice")["id"]
    assert home.client.patch(f"/v1/adapters/{alice}", json={"notes": text}).status_code == 200


class TestDue:
    def test_the_first_one_is_due_at_once(self, home):
        assert _look(home) == pytest.approx(DAY_S, abs=60)
        [made] = _history(home)
        assert (made.reason, made.type, made.status) == ("schedule", "quick", "completed")

    def test_the_next_one_a_day_later(self, home):
        _look(home)
        _look(home)
        assert len(_asked_for(home)) == 1
        _a_day_passes(home)
        _write_something(home, "new")
        _look(home)
        assert len(_history(home)) == 2

    def test_a_new_database_knows_the_time_from_the_folder(self, home, make_database_url, tmp_path):
        _look(home)
        folder = BackupFolder(home.application.settings.data_dir / "backups")
        other = Database(make_database_url("sqlite"))
        other.upgrade()
        jobs = home.application.services.get(Jobs)
        answer = ScheduleService(other, jobs, folder, 24, 7).get()
        other.close()
        assert seconds_between(utc_now(), answer.next_at or "") == pytest.approx(DAY_S, abs=60)

    def test_two_servers_that_look_at_once_ask_for_one(self, home):
        schedule, start = _schedule(home), threading.Barrier(2)

        def _look_too() -> None:
            start.wait()
            schedule.look()

        threads = [threading.Thread(target=_look_too) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(_asked_for(home)) == 1

    def test_one_that_failed_is_tried_at_the_next_slot(self, make_home, small_disk):
        home = make_home(data_dir=small_disk)
        _look(home)
        assert _look(home) == pytest.approx(DAY_S, abs=60)
        [failed] = _history(home)
        assert (failed.status, failed.reason) == ("failed", "schedule")
        assert "free" in (failed.detail or "")
        _a_day_passes(home)
        _look(home)
        assert len(_asked_for(home)) == 2

    def test_a_clock_that_was_wrong_once_does_not_end_it(self, home):
        _look(home)
        database = home.application.services.get(Database)
        with database.write() as session:
            session.execute(
                update(Job).where(Job.kind == BACKUP_JOB).values(created_at=utc_after(1e9))
            )
        folder = home.application.settings.data_dir / "backups"
        for path in [*folder.glob("*.zip"), *folder.glob("*.json")]:
            path.unlink()
        assert (_schedule(home).get().next_at or "") <= utc_now()

    def test_none_where_none_are_wanted(self, make_home):
        home = make_home(backup_every_h=0)
        assert _look(home) is None
        assert _schedule(home).get().next_at is None
        assert _history(home) == []


class TestNeed:
    def test_none_while_nobody_ever_had_anything(self, make_home):
        home = make_home(library_roots=())
        _look(home)
        [job] = _asked_for(home)
        assert "no adapters" in (job.result or {})["skipped"]
        assert _history(home) == []

    def test_none_while_nothing_changes(self, home):
        _look(home)
        _a_day_passes(home)
        home.scan()
        _look(home)
        assert "Nothing has changed" in (_asked_for(home)[0].result or {})["skipped"]
        assert len(_history(home)) == 1

    @pytest.mark.parametrize("change", ["notes", "choice", "excluded"])
    def test_any_change_counts(self, home, change):
        _look(home)
        _a_day_passes(home)
        if change == "notes":
            _write_something(home, "x")
        elif change == "choice":
            switched = home.client.put("/v1/injection", json={"enabled": False})
            assert switched.status_code == 200
        else:
            home.client.delete(f"/v1/adapters/{home.adapter('alice')['id']}")
        _look(home)
        assert len(_history(home)) == 2


class TestKeeping:
    def test_older_ones_of_the_schedule_go_and_no_others(self, home):
        by_hand = home.client.post(f"{URL}/backup/create", json={"backup_type": "quick"}).json()
        _schedule(home).choose(BackupSchedule(every_h=24, keep=2))
        for number in range(4):
            _write_something(home, f"note {number}")
            _look(home)
            _a_day_passes(home)
        left = _history(home)
        assert [backup.reason for backup in left].count("schedule") == 2
        assert by_hand["backup_id"] in [backup.id for backup in left]

    def test_none_goes_when_the_new_one_fails(self, home):
        _schedule(home).choose(BackupSchedule(every_h=24, keep=1))
        _look(home)
        before = _history(home)
        context = FakeContext(
            "0" * 36, {"backup_type": "quick", "reason": "schedule", "keep": 1}, cancelled=True
        )
        with pytest.raises(JobCancelled):
            home.application.services.get(BackupJob).run(context)
        assert _history(home) == before


class TestChoosing:
    def test_a_choice_counts_more_than_the_settings_and_lasts(self, make_home):
        first = make_home(backup_every_h=5, backup_keep=3)
        assert _answer(first)["every_h"] == 5
        chosen = first.client.put(
            f"{URL}/backups/schedule", json={"every_h": 12.5, "keep": 9, "backup_type": "full"}
        )
        assert chosen.status_code == 200, chosen.text
        assert _answer(first) == {"every_h": 12.5, "keep": 9, "backup_type": "full"}
        again = make_home(backup_every_h=5, backup_keep=3)
        assert _answer(again) == {"every_h": 12.5, "keep": 9, "backup_type": "full"}

    @pytest.mark.parametrize(
        "wrong", [{"every_h": -1}, {"keep": 0}, {"backup_type": "half"}, {"often": True}], ids=str
    )
    def test_what_makes_no_sense_is_refused(self, home, wrong):
        answer = home.client.put(f"{URL}/backups/schedule", json=wrong)
        assert answer.status_code == 422


class TestThread:
    def test_looks_again_when_somebody_chooses(self, make_home):
        home = make_home(backup_every_h=0)
        schedule = _schedule(home)
        scheduler = BackupScheduler(schedule)
        scheduler.start()
        scheduler.start()
        try:
            recorder = home.record_feed()
            schedule.choose(BackupSchedule(every_h=24))
            recorder.wait_for(lambda event: event.is_end, 30)
        finally:
            scheduler.stop()
            scheduler.stop()
        assert [backup.reason for backup in _history(home)] == ["schedule"]


class TestTheNote:
    def test_of_another_file_is_not_believed(self, tmp_path: Path):
        folder = BackupFolder(tmp_path)
        backup = StoredBackup("x", utc_now(), "quick", "by hand", 3, "a.zip")
        (tmp_path / "a.zip").write_bytes(b"four")
        (tmp_path / "a.json").write_text(str(backup))
        [shown] = folder.list()
        assert shown.problem is not None


def _answer(home: Home) -> dict[str, Any]:
    answer: dict[str, Any] = home.client.get(f"{URL}/backups/schedule").json()
    answer.pop("next_at")
    return answer
