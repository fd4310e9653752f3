"""Restores over HTTP, on SQLite and PostgreSQL: all of it comes back, or nothing changes."""

from __future__ import annotations

import hashlib
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.import_export.backups.folder import BackupFolder
from lora_manager_core.import_export.backups.restore_job import RestoreJob
from lora_manager_core.import_export.imports.staging import STAGING_FOLDER
from lora_manager_core.import_export.kinds import RESTORE_JOB
from lora_manager_core.import_export.schemas import Backup, RestoreAnswer
from lora_manager_core.queueing.base import PENDING, JobCancelled, JobOutcome
from lora_manager_core.queueing.service import Jobs
from tests.conftest import DATABASES
from tests.core.conftest import Home
from tests.fakes.running_job import FakeContext
from tests.library_state import State, read_state

URL = "/v1/import-export"


def back_up(home: Home, **request: Any) -> str:
    answer = home.client.post(f"{URL}/backup/create", json=request)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["backup_id"])


def restore(home: Home, backup_id: str, **request: Any) -> RestoreAnswer:
    answer = home.client.post(f"{URL}/backups/{backup_id}/restore", json=request)
    assert answer.status_code == 200, answer.text
    home.scan()
    return RestoreAnswer.model_validate(answer.json())


def refused(home: Home, backup_id: str, **request: Any) -> dict[str, Any]:
    answer = home.client.post(f"{URL}/backups/{backup_id}/restore", json=request)
    assert answer.status_code >= 400, answer.text
    problem: dict[str, Any] = answer.json()
    return problem


def change(home: Home, adapter: str, **fields: Any) -> None:
    adapter_id = home.adapter(adapter)["id"]
    changed = home.client.patch(f"/v1/adapters/{adapter_id}", json=fields)
    assert changed.status_code == 200, changed.text


def state(home: Home) -> State:
    home.scan()
    return read_state(home.application.services.get(Database), [home.library])


@pytest.fixture
def lived_in(home: Home) -> Home:
    """A library in which somebody wrote, chose and generated."""
    change(home, "alice", notes="mine", tags=["hero", "gold"], weight=0.7)
    home.client.put("/v1/injection", json={"enabled": False})
    Image.new("RGB", (8, 8), "red").save(home.library / "characters" / "alice.preview.png")
    (home.library / "characters" / "alice.json").write_text('{"notes": "beside"}')
    made = home.client.post("/v1/generation/generate", json={"prompt": "<lora:alice:1> a cat"})
    assert made.status_code == 200, made.text
    home.client.patch(f"/v1/generation/results/{made.json()['job_id']}", json={"rating": 4})
    home.scan()
    return home


def devastate(home: Home) -> None:
    """Everything is changed, removed or added to."""
    change(home, "alice", notes="gone", tags=[])
    home.client.put("/v1/injection", json={"enabled": True})
    home.client.delete(f"/v1/adapters/{home.adapter('Zebra')['id']}")
    for result in home.client.get("/v1/generation/results").json()["results"]:
        assert home.client.delete(f"/v1/generation/results/{result['id']}").status_code == 204
    (home.library / "styles" / "ink.v2.safetensors").unlink()
    (home.library / "characters" / "alice.json").write_text("{}")
    (home.library / "characters" / "alice.preview.png").unlink()
    home.scan()


class TestRestoring:
    def test_everything_is_as_it_was(self, lived_in):
        before = state(lived_in)
        made = back_up(lived_in)
        devastate(lived_in)
        assert state(lived_in).differences(before)
        answer = restore(lived_in, made)
        assert state(lived_in).differences(before) == []
        assert (answer.adapters, answer.files_written) == (3, 4)
        assert answer.notes == []

    def test_the_present_is_kept_first(self, lived_in):
        made = back_up(lived_in)
        devastate(lived_in)
        before = state(lived_in)
        answer = restore(lived_in, made)
        kept = next(b for b in _history(lived_in) if b.id == answer.backup_id)
        assert kept.reason == "before restore"
        again = restore(lived_in, kept.id, backup_before=False)
        assert again.backup_id is None
        after = state(lived_in)
        assert (after.tables, after.pictures) == (before.tables, before.pictures)
        assert lived_in.adapter("alice")["notes"] == "gone"
        # Replaced by the first restore, kept before it.
        assert after.files["characters/alice.json"] == before.files["characters/alice.json"]

    def test_a_quick_one_leaves_files_alone(self, lived_in):
        made = back_up(lived_in, backup_type="quick")
        devastate(lived_in)
        answer = restore(lived_in, made)
        assert not (lived_in.library / "styles" / "ink.v2.safetensors").exists()
        assert lived_in.adapter("ink_v2")["file_state"] == "missing"
        assert lived_in.adapter("alice")["notes"] == "mine"
        assert answer.notes == [
            "1 model files are neither here nor put back from the backup; their records are "
            "marked as missing."
        ]

    def test_without_files_only_what_people_wrote_comes_back(self, lived_in):
        made = back_up(lived_in)
        devastate(lived_in)
        answer = restore(lived_in, made, files=False)
        assert lived_in.adapter("alice")["notes"] == "mine"
        assert not (lived_in.library / "styles" / "ink.v2.safetensors").exists()
        assert answer.success

    def test_encrypted(self, lived_in):
        before = state(lived_in)
        made = back_up(lived_in, encrypt=True, password="correct horse")
        devastate(lived_in)
        changed = state(lived_in)
        assert refused(lived_in, made)["code"] == "password_needed"
        assert refused(lived_in, made, password="battery")["code"] == "wrong_password"
        assert state(lived_in).differences(changed) == []
        restore(lived_in, made, password="correct horse")
        assert state(lived_in).differences(before) == []
        assert list((lived_in.application.settings.data_dir / "secrets").iterdir()) == []

    def test_in_the_background(self, lived_in):
        made = back_up(lived_in)
        change(lived_in, "alice", notes="later")
        answer = lived_in.client.post(
            f"{URL}/backups/{made}/restore", json={"background": True}
        ).json()
        job = lived_in.application.services.get(Jobs).wait(answer["job_id"], 60)
        assert job.status == "succeeded"
        shown = lived_in.client.get(f"{URL}/jobs/{job.id}").json()
        assert (shown["kind"], shown["result"]["adapters"]) == ("archive.restore", 3)
        assert lived_in.adapter("alice")["notes"] == "mine"

    def test_jobs_that_wait_survive(self, home):
        made = back_up(home, backup_type="quick")
        database = home.application.services.get(Database)
        with database.write() as session:
            waiting = home.application.services.get(Jobs)
            # A kind that nobody here runs: it waits for good.
            job = Job(
                id="7d1c5a0e-0000-4000-8000-00000000aaaa",
                kind="generation.picture",
                lane="elsewhere",
                status=PENDING,
                payload={},
                created_at="2026-01-01T00:00:00.000000Z",
            )
            session.add(job)
        restore(home, made)
        assert waiting.get(job.id).status == PENDING

    def test_the_same_twice_at_once_leaves_it_whole(self, lived_in):
        before = state(lived_in)
        made = back_up(lived_in)
        devastate(lived_in)
        threads = [
            threading.Thread(target=lived_in.client.post, args=(f"{URL}/backups/{made}/restore",))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state(lived_in).differences(before) == []


class TestOtherDatabase:
    @pytest.mark.parametrize("other", DATABASES)
    def test_a_backup_goes_from_either_kind_to_either_kind(
        self,
        lived_in: Home,
        make_home: Callable[..., Home],
        make_database_url: Callable[[str], str],
        tmp_path: Path,
        other: str,
    ):
        before = state(lived_in)
        made = back_up(lived_in)
        path = _path(lived_in, made)
        data = tmp_path / "elsewhere"
        (data / "backups").mkdir(parents=True)
        shutil.copy(path, data / "backups" / path.name)
        outputs = lived_in.application.settings.outputs
        kind = "postgres" if other == "postgres" else "sqlite"
        home = make_home(
            data_dir=data,
            output_dir=outputs,
            database_url=_other_url(make_database_url, kind, tmp_path),
        )
        restore(home, made)
        assert state(home).differences(before) == []


class TestOlder:
    def test_columns_that_came_later_get_their_defaults(self, lived_in):
        made = back_up(lived_in)
        _rewrite(_path(lived_in, made), lambda manifest: manifest.update(schema="0001"), _older)
        change(lived_in, "alice", favorite=True, rating=3, notes="later")
        restore(lived_in, made)
        alice = lived_in.adapter("alice")
        assert (alice["favorite"], alice["rating"], alice["notes"]) == (False, None, "mine")
        [result] = lived_in.client.get("/v1/generation/results").json()["results"]
        job = lived_in.application.services.get(Jobs).get(result["id"])
        assert (job.work, job.retries_left) == (1.0, 0)

    def test_the_same_of_this_version_is_damaged(self, lived_in):
        made = back_up(lived_in)
        _rewrite(_path(lived_in, made), lambda _manifest: None, _older)
        assert "is missing" in refused(lived_in, made)["detail"]


class TestRefusing:
    def test_what_is_no_backup(self, home):
        folder = home.application.settings.data_dir / "backups"
        folder.mkdir(parents=True, exist_ok=True)
        exported = home.client.post(f"{URL}/export", json={"lora_files": False})
        (folder / "export.zip").write_bytes(exported.content)
        [shown] = _history(home)
        before = state(home)
        assert "Import it instead" in refused(home, shown.id)["detail"]
        assert state(home).differences(before) == []

    def test_a_backup_of_a_newer_version(self, home):
        made = back_up(home, backup_type="quick")
        path = _path(home, made)
        _rewrite(path, lambda manifest: manifest.update(schema="9999"))
        before = state(home)
        problem = refused(home, made)
        assert problem["code"] == "archive_refused"
        assert "newer version" in problem["detail"]
        assert state(home).differences(before) == []

    def test_a_damaged_one(self, lived_in):
        made = back_up(lived_in)
        path = _path(lived_in, made)
        with zipfile.ZipFile(path) as archive:
            info = next(i for i in archive.infolist() if i.filename.endswith(".safetensors"))
        content = bytearray(path.read_bytes())
        content[info.header_offset + 2000] ^= 1
        path.write_bytes(content)
        devastate(lived_in)
        before = state(lived_in)
        assert refused(lived_in, made)["code"] == "archive_refused"
        assert state(lived_in).differences(before) == []
        assert not (lived_in.library / STAGING_FOLDER).exists()


class TestStopping:
    def test_a_cancelled_one_changes_nothing(self, lived_in):
        made = back_up(lived_in)
        devastate(lived_in)
        before = state(lived_in)
        job = lived_in.application.services.get(RestoreJob)
        for steps in range(8):
            context = _CancelledAfter(steps, made)
            with pytest.raises(JobCancelled):
                job.run(context)
            assert not (lived_in.library / STAGING_FOLDER).exists()
        assert state(lived_in).differences(before) == []

    def test_what_was_staged_goes_when_the_job_is_cancelled_at_its_end(self, lived_in):
        made = back_up(lived_in)
        devastate(lived_in)
        before = state(lived_in)
        job = lived_in.application.services.get(RestoreJob)
        outcome = job.run(FakeContext(payload=_payload(made)))
        assert (lived_in.library / STAGING_FOLDER).exists()
        assert outcome.undo is not None
        outcome.undo()
        assert not (lived_in.library / STAGING_FOLDER).exists()
        assert state(lived_in).differences(before) == []


# Who is killed closes no files.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestAfterAKill:
    def test_the_next_start_brings_back_the_old_state(self, lived_in):
        made = back_up(lived_in)
        devastate(lived_in)
        before = state(lived_in)
        job = lived_in.application.services.get(RestoreJob)
        database = lived_in.application.services.get(Database)
        outcome = job.run(FakeContext(payload=_payload(made)))
        with pytest.raises(_Killed):  # before the commit, with all files in their new places
            _store(database, outcome, _raise_killed)
        assert (lived_in.library / "styles" / "ink.v2.safetensors").exists()
        lived_in.application.start()
        assert state(lived_in).differences(before) == []
        assert not (lived_in.library / STAGING_FOLDER).exists()

    def test_and_finishes_what_was_committed(self, lived_in):
        before = state(lived_in)
        made = back_up(lived_in)
        devastate(lived_in)
        job = lived_in.application.services.get(RestoreJob)
        database = lived_in.application.services.get(Database)
        context = FakeContext(payload=_payload(made))
        outcome = job.run(context)

        def _succeed(session: WriteSession) -> None:
            session.add(
                Job(
                    id=context.job_id,
                    kind=RESTORE_JOB,
                    lane="library",
                    status="succeeded",
                    payload={},
                    created_at="2026-01-01T00:00:00.000000Z",
                )
            )

        with pytest.raises(_Killed):
            _store(database, outcome, _succeed, _raise_killed)
        assert (lived_in.library / STAGING_FOLDER).exists()
        lived_in.application.start()
        assert state(lived_in).differences(before) == []
        assert not (lived_in.library / STAGING_FOLDER).exists()


class _Killed(BaseException):
    pass


def _raise_killed(*_: object) -> None:
    raise _Killed


def _store(
    database: Database,
    outcome: JobOutcome,
    then: Callable[[WriteSession], None],
    after_commit: Callable[[], None] = lambda: None,
) -> None:
    """End a job as its runner does, up to a point."""
    assert outcome.store is not None
    with database.write() as session:
        session.after_commit(after_commit)  # the first, so that none follows if it raises
        outcome.store(session)
        then(session)


class _CancelledAfter(FakeContext):
    """Is to stop at the step of that number."""

    def __init__(self, steps: int, backup_id: str) -> None:
        super().__init__(payload=_payload(backup_id))
        self._left = steps

    def is_cancelled(self) -> bool:
        self._left -= 1
        return self._left < 0


def _payload(backup_id: str) -> dict[str, Any]:
    return {"backup_id": backup_id, "files": True, "backup_before": False, "secret": None}


def _history(home: Home) -> list[Backup]:
    return [Backup.model_validate(b) for b in home.client.get(f"{URL}/backups/history").json()]


def _path(home: Home, backup_id: str) -> Path:
    folder = BackupFolder(home.application.settings.data_dir / "backups")
    return folder.file(folder.get(backup_id))


def _older(name: str, content: bytes) -> bytes:
    """A member as a version would have written it that knew fewer columns."""
    if name.endswith("record.json"):
        record = orjson.loads(content)
        del record["adapter"]["favorite"], record["adapter"]["rating"]
        return orjson.dumps(record)
    if name == "tables/jobs.jsonl":
        rows = [orjson.loads(line) for line in content.splitlines()]
        for row in rows:
            del row["work"], row["retries_left"], row["not_before"]
        return b"".join(orjson.dumps(row) + b"\n" for row in rows)
    return content


def _rewrite(
    path: Path,
    change_manifest: Callable[[dict[str, Any]], object],
    change_member: Callable[[str, bytes], bytes] = lambda _name, content: content,
) -> None:
    """The archive with another manifest and other members, true to each other."""
    with zipfile.ZipFile(path) as archive:
        contents = {
            i.filename: change_member(i.filename, archive.read(i)) for i in archive.infolist()
        }
    manifest = orjson.loads(contents["manifest.json"])
    change_manifest(manifest)
    for member in manifest["members"]:
        content = contents[member["name"]]
        member["size"] = len(content)
        if member["sha256"] is not None:
            member["sha256"] = hashlib.sha256(content).hexdigest()
    contents["manifest.json"] = orjson.dumps(manifest)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def _other_url(make_database_url: Callable[[str], str], kind: str, tmp_path: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{(tmp_path / 'other.sqlite3').as_posix()}"
    return make_database_url(kind)
