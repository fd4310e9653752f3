"""Backups over HTTP, on SQLite and PostgreSQL: made, listed, downloaded, verified, deleted."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import orjson
import pytest

from lora_manager_core.import_export.backups.folder import BackupFolder
from lora_manager_core.import_export.backups.job import BackupJob
from lora_manager_core.import_export.backups.maker import BEFORE_IMPORT, BackupMaker
from lora_manager_core.import_export.schemas import Backup, BackupCreated, Verification
from lora_manager_core.queueing.base import JobCancelled
from lora_manager_core.queueing.service import Jobs
from tests.core.conftest import Home
from tests.fakes.running_job import FakeContext

URL = "/v1/import-export"


def make(home: Home, **request: object) -> BackupCreated:
    answer = home.client.post(f"{URL}/backup/create", json=request)
    assert answer.status_code == 200, answer.text
    return BackupCreated.model_validate(answer.json())


def history(home: Home) -> list[Backup]:
    answer = home.client.get(f"{URL}/backups/history")
    assert answer.status_code == 200, answer.text
    return [Backup.model_validate(backup) for backup in answer.json()]


def folder_of(home: Home) -> Path:
    return home.application.settings.data_dir / "backups"


class TestMaking:
    def test_a_full_one_holds_the_model_files(self, home):
        made = make(home)
        assert (made.type, made.status, made.success) == ("full", "completed", True)
        [shown] = history(home)
        assert (shown.id, shown.status, shown.reason) == (made.backup_id, "completed", "by hand")
        assert (shown.counts["adapters"], shown.counts["model_files"]) == (3, 3)
        with zipfile.ZipFile(folder_of(home) / shown.file_name) as archive:
            manifest = orjson.loads(archive.read("manifest.json"))
            names = archive.namelist()
        assert (manifest["id"], manifest["kind"]) == (made.backup_id, "backup")
        assert sum(name.endswith(".safetensors") for name in names) == 3
        assert ("database/lora-manager.sqlite3" in names) is home.application.database.is_sqlite

    def test_a_quick_one_holds_what_people_wrote(self, home):
        home.client.patch(f"/v1/adapters/{home.adapter('alice')['id']}", json={"notes": "mine"})
        make(home, backup_type="quick")
        [shown] = history(home)
        assert (shown.counts["adapters"], shown.counts["model_files"]) == (3, 0)
        with zipfile.ZipFile(folder_of(home) / shown.file_name) as archive:
            alice = archive.read(f"adapters/{home.adapter('alice')['id']}/record.json")
        assert orjson.loads(alice)["adapter"]["notes"] == "mine"

    def test_in_the_background_it_is_answered_at_once(self, home):
        made = make(home, background=True)
        assert made.status == "running"
        home.application.services.get(Jobs).wait(made.job_id, 60)
        assert [backup.id for backup in history(home)] == [made.backup_id]

    def test_encrypted_it_opens_with_its_password_only(self, home):
        made = make(home, encrypt=True, password="correct horse")
        [shown] = history(home)
        assert shown.encrypted
        with zipfile.ZipFile(folder_of(home) / shown.file_name) as archive:
            assert all(info.flag_bits & 1 for info in archive.infolist())
        verify = f"{URL}/backups/{made.backup_id}/verify"
        assert home.client.post(verify).json()["code"] == "password_needed"
        wrong = home.client.post(verify, json={"password": "battery"})
        assert (wrong.status_code, wrong.json()["code"]) == (400, "wrong_password")
        assert home.client.post(verify, json={"password": "correct horse"}).json()["ok"]
        assert list((home.application.settings.data_dir / "secrets").iterdir()) == []

    @pytest.mark.parametrize(
        "request_",
        [
            pytest.param({"encrypt": True}, id="no password"),
            pytest.param({"password": "x"}, id="a password for nothing"),
        ],
    )
    def test_half_an_encryption_is_refused(self, home, request_):
        answer = home.client.post(f"{URL}/backup/create", json=request_)
        assert answer.status_code == 400
        assert history(home) == []

    def test_a_full_disk_is_told_and_leaves_nothing(self, make_home, small_disk):
        home = make_home(data_dir=small_disk)
        answer = home.client.post(f"{URL}/backup/create", json={})
        assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
        [shown] = history(home)
        assert (shown.status, shown.detail) == ("failed", answer.json()["detail"])
        assert list((small_disk / "backups").rglob("*.zip")) == []

    def test_the_short_address_does_the_same(self, home):
        assert home.client.post("/v1/backup/create", json={}).status_code == 200
        short, long = (home.client.get(f"/v1{p}/backups/history") for p in ("", "/import-export"))
        assert short.json() == long.json() != []


class TestHistory:
    def test_is_newest_first(self, home):
        made = [make(home, backup_type="quick").backup_id for _ in range(3)]
        assert [backup.id for backup in history(home)] == made[::-1]

    def test_survives_the_loss_of_what_was_noted(self, home):
        make(home, backup_type="quick")
        before = history(home)
        for note in folder_of(home).glob("*.json"):
            note.unlink()
        assert history(home) == before
        assert len(list(folder_of(home).glob("*.json"))) == 1

    def test_an_encrypted_one_without_its_note_is_told_by_its_name(self, home):
        made = make(home, backup_type="quick", encrypt=True, password="x")
        next(folder_of(home).glob("*.json")).unlink()
        [shown] = history(home)
        assert (shown.id, shown.type, shown.encrypted) == (made.backup_id, "quick", True)
        assert shown.created_at[:19] == made.created_at[:19]

    def test_broken_and_foreign_archives_are_shown_and_hide_nothing(self, home):
        made = make(home, backup_type="quick")
        (folder_of(home) / "broken.zip").write_bytes(b"PK no zip at all")
        with zipfile.ZipFile(folder_of(home) / "holiday.zip", "w") as archive:
            archive.writestr("beach.txt", "x")
        shown = {backup.file_name: backup for backup in history(home)}
        assert len(shown) == 3
        assert {b.id for b in shown.values() if b.status == "completed"} == {made.backup_id}
        for name in ("broken.zip", "holiday.zip"):
            assert shown[name].status == "failed"
            assert shown[name].detail
        gone = home.client.delete(f"{URL}/backups/{shown['broken.zip'].id}")
        assert gone.status_code == 204
        assert not (folder_of(home) / "broken.zip").exists()

    def test_a_cut_off_one_is_shown_as_failed(self, home):
        make(home)
        [shown] = history(home)
        path = folder_of(home) / shown.file_name
        path.write_bytes(path.read_bytes()[:-200])
        [cut] = history(home)
        assert cut.status == "failed"
        assert cut.id == shown.id


class TestDownloading:
    def test_ranges_and_etag(self, home):
        made = make(home, backup_type="quick")
        url = history(home)[0].url
        whole = home.client.get(url)
        assert whole.status_code == 200
        assert len(whole.content) == made.size
        assert whole.headers["content-disposition"].startswith("attachment")
        rest = home.client.get(url, headers={"Range": "bytes=100-"})
        assert (rest.status_code, rest.content) == (206, whole.content[100:])
        same = home.client.get(url, headers={"If-None-Match": whole.headers["etag"]})
        assert same.status_code == 304

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/file"), ("POST", "/verify"), ("POST", "/restore"), ("DELETE", "")],
    )
    def test_an_unknown_one_is_not_found(self, home, method, path):
        answer = home.client.request(method, f"{URL}/backups/ghost{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "backup_not_found")


class TestVerifying:
    def test_reads_every_byte(self, home):
        made = make(home)
        answer = home.client.post(f"{URL}/backups/{made.backup_id}/verify")
        found = Verification.model_validate(answer.json())
        assert found.ok, found
        assert found.bytes_read > 3 * 10_000
        assert found.members > 6

    def test_one_changed_byte_in_a_model_file_is_found(self, home):
        made = make(home)
        path = folder_of(home) / history(home)[0].file_name
        with zipfile.ZipFile(path) as archive:
            info = next(i for i in archive.infolist() if i.filename.endswith(".safetensors"))
        content = bytearray(path.read_bytes())
        content[info.header_offset + 2000] ^= 1
        path.write_bytes(content)
        found = home.client.post(f"{URL}/backups/{made.backup_id}/verify").json()
        assert found["ok"] is False
        assert ".safetensors" in found["problem"]


class TestBefore:
    def test_holds_the_files_that_are_about_to_be_replaced(self, home, library):
        maker = home.application.services.get(BackupMaker)
        ink = library / "styles" / "ink.v2.safetensors"
        made = maker.before(FakeContext(), BEFORE_IMPORT, [ink])
        [shown] = history(home)
        assert (shown.id, shown.reason, shown.type) == (made, "before import", "quick")
        with zipfile.ZipFile(folder_of(home) / shown.file_name) as archive:
            files = [name for name in archive.namelist() if name.endswith(".safetensors")]
            assert [archive.read(name) for name in files] == [ink.read_bytes()]

    def test_the_last_ten_are_kept_and_all_others_of_other_reasons(self, home):
        make(home, backup_type="quick")
        maker = home.application.services.get(BackupMaker)
        made = [maker.before(FakeContext(), BEFORE_IMPORT, []) for _ in range(12)]
        kept = [b.id for b in history(home) if b.reason == BEFORE_IMPORT]
        assert kept == made[:1:-1]
        assert len(history(home)) == 11

    def test_the_one_that_is_being_restored_stays(self, home):
        maker = home.application.services.get(BackupMaker)
        first = maker.before(FakeContext(), BEFORE_IMPORT, [])
        for _ in range(11):
            maker.before(FakeContext(), BEFORE_IMPORT, [], in_use=first)
        assert first in [backup.id for backup in history(home)]
        maker.before(FakeContext(), BEFORE_IMPORT, [])
        assert first not in [backup.id for backup in history(home)]

    def test_one_that_cannot_be_removed_stops_nothing(self, home, caplog):
        maker = home.application.services.get(BackupMaker)
        first = maker.before(FakeContext(), BEFORE_IMPORT, [])
        path = folder_of(home) / history(home)[0].file_name
        note = path.with_suffix(".json")
        content = note.read_bytes()
        path.unlink()
        path.mkdir()  # what no program can unlink
        size = path.stat().st_size
        note.write_bytes(content.replace(_size_in(content), b'"size": %d' % size))
        made = [maker.before(FakeContext(), BEFORE_IMPORT, []) for _ in range(10)]
        assert {first, *made} == {backup.id for backup in history(home)}
        assert "could not be removed" in caplog.text

    def test_progress_leaves_room_for_what_follows(self, home):
        context = FakeContext()
        home.application.services.get(BackupMaker).before(context, BEFORE_IMPORT, [])
        assert all(progress.fraction <= 0.1 for progress in context.reported)


class TestKilled:
    def test_a_job_that_runs_again_takes_the_backup_it_had_made(self, home):
        made = make(home, backup_type="quick")
        job = home.application.services.get(BackupJob)
        outcome = job.run(FakeContext(made.job_id, {"backup_type": "quick", "reason": "by hand"}))
        assert outcome.result["created_at"] == made.created_at
        assert len(history(home)) == 1

    def test_a_cancelled_one_leaves_nothing(self, home):
        job = home.application.services.get(BackupJob)
        context = FakeContext(
            "0" * 36, {"backup_type": "full", "reason": "by hand"}, cancelled=True
        )
        with pytest.raises(JobCancelled):
            job.run(context)
        assert BackupFolder(folder_of(home)).list() == []
        assert list((folder_of(home) / ".unfinished").iterdir()) == []


def _size_in(note: bytes) -> bytes:
    match = re.search(rb'"size": \d+', note)
    assert match is not None
    return match.group()
