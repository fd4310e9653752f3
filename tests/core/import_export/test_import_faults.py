"""All or nothing: whatever goes wrong, rows and files are as they were."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from lora_manager_core.errors import LibraryChanged
from lora_manager_core.import_export.archive.reader import open_archive
from lora_manager_core.import_export.imports.importer import Importer
from lora_manager_core.import_export.imports.job import ImportJob, ImportOrder
from lora_manager_core.import_export.imports.plan import KINDS, Wishes
from lora_manager_core.import_export.imports.staging import StagedFiles
from lora_manager_core.import_export.imports.taking_in import TakingIn
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.base import JobCancelled
from lora_manager_core.web.uploads import UploadFolder
from tests.fakes.hostile_archives import FORBIDDEN, hostile_archives
from tests.fakes.lora_files import write_lora
from tests.fakes.running_job import FakeContext
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    JOB_ID,
    dump,
    model,
    own_members,
    record,
    sealed,
    write_zip,
)
from tests.importing import (
    ended,
    everything,
    rows,
    send,
    send_in_background,
    take_in,
    wait_until,
    zipped,
)


@pytest.fixture
def archive(tmp_path):
    return zipped(tmp_path, sealed(own_members()))


class TestNothingStays:
    def test_of_an_archive_whose_last_file_is_another(self, home, tmp_path):
        members = sealed(own_members())
        last = f"pictures/{JOB_ID}/0.png"
        members[last] = members[last][:-1] + b"x"
        before = everything(home)

        for validate in (True, False):
            result = send(home, zipped(tmp_path, members), validate=validate)["results"][0]
            assert (result["status"], result["code"]) == ("error", "archive_refused")
            assert everything(home) == before

    def test_when_the_database_fails_after_the_files_were_moved(self, home, archive, tmp_path):
        before = everything(home)
        seen = []

        def _fail(_connection, _cursor, statement, *_more):
            if statement.startswith("INSERT INTO run_adapters"):
                seen.append((tmp_path / "loras" / "styles" / "ink.safetensors").exists())
                raise RuntimeError("the database has a defect")

        engine = home.application.database.engine
        event.listen(engine, "before_cursor_execute", _fail)
        try:
            result = send(home, archive)["results"][0]
        finally:
            event.remove(engine, "before_cursor_execute", _fail)

        assert (seen, result["code"]) == ([True], "internal_error")
        assert everything(home) == before
        assert not (tmp_path / "loras" / "styles").exists()

    def test_when_the_target_is_a_file(self, make_home, archive, tmp_path):
        (tmp_path / "blocked").write_text("a file")
        home = make_home(import_path=tmp_path / "blocked" / "loras")
        before = everything(home)
        result = send(home, archive)["results"][0]
        assert (result["status"], result["code"]) == ("error", "storage_failed")
        assert everything(home) == before

    def test_when_the_disk_is_too_small(self, make_home, tmp_path, small_disk):
        home = make_home(import_path=small_disk / "loras")
        big = {"big.safetensors": write_lora(tmp_path / "big.safetensors", width=20_000)}
        members = {name: path.read_bytes() for name, path in big.items()}
        before = everything(home)

        result = send(home, zipped(tmp_path, members))["results"][0]

        assert result["code"] == "disk_full"
        assert f"{len(members['big.safetensors']):,} bytes" in result["detail"]
        assert "are free" in result["detail"]
        assert everything(home) == before
        assert not list(small_disk.iterdir())

    def test_whenever_it_is_cancelled(self, home, archive):
        job, order = _job(home, archive)
        before = everything(home)
        points = 0
        while True:
            context = _CancelledAt(points, payload=asdict(order))
            try:
                outcome = job.run(context)
            except JobCancelled:
                assert everything(home) == before, f"cancelled at {points}"
                points += 1
            else:
                break
        assert points > 10
        assert everything(home) != before  # its files are staged
        outcome.undo()
        assert everything(home) == before
        assert not list(home.application.settings.import_path.rglob("*.part"))

    def test_of_jobs_that_are_cancelled(self, home, archive):
        """One that runs, and one that waits behind it."""
        before = everything(home)
        reached, goes_on = threading.Event(), threading.Event()

        def _hold(_connection, _cursor, statement, *_more):
            if "adapters.edited_fields" in statement and "adapters.pk" in statement:
                reached.set()
                goes_on.wait(30)

        engine = home.application.database.engine
        event.listen(engine, "before_cursor_execute", _hold)
        try:
            answer = send_in_background(home, archive, archive)
            running, waiting = (result["job_id"] for result in answer["results"])
            assert reached.wait(30)
            for job_id in (waiting, running):
                cancelled = home.client.post(f"/v1/import-export/jobs/{job_id}/cancel")
                assert cancelled.status_code == 200, cancelled.text
        finally:
            goes_on.set()
            event.remove(engine, "before_cursor_execute", _hold)

        assert [ended(home, job_id)["status"] for job_id in (running, waiting)] == ["cancelled"] * 2
        wait_until(lambda: everything(home) == before)

    @pytest.mark.timeout(600)
    def test_of_any_hostile_archive(self, home, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # where a payload would write
        write_lora(home.library / "styles" / "ink.safetensors", seed=5)
        home.scan()
        before = everything(home)
        met = 0
        for hostile in hostile_archives():
            path = tmp_path / "hostile.zip"
            hostile.build(path)
            password = {} if hostile.password is None else {"password": hostile.password}
            content = path.read_bytes() if path.stat().st_size < 2**26 else None
            if content is None:
                continue  # sparse, of gigabytes: refused by its structure, see `test_hostile`
            answer = send(home, content, conflict_resolution="replace", **password)
            result = answer["results"][0]
            assert result["status"] == "error", hostile.name
            assert result["code"] in ("archive_refused", "password_needed", "wrong_password"), (
                hostile.name,
                result,
            )
            assert everything(home) == before, hostile.name
            met += 1
        assert met > 300
        names = {name for _, folders, files in os.walk(tmp_path) for name in (*folders, *files)}
        assert not [name for name in names if any(evil in name for evil in FORBIDDEN)]


class TestAgain:
    def test_a_database_that_does_not_answer_at_the_end_is_asked_again(self, home, archive):
        failures = []

        def _fail(_connection, _cursor, statement, *_more):
            if statement.startswith("INSERT INTO run_adapters") and not failures:
                failures.append(statement)
                raise OperationalError(statement, {}, RuntimeError("no answer"))

        engine = home.application.database.engine
        event.listen(engine, "before_cursor_execute", _fail)
        try:
            result = take_in(home, archive)
        finally:
            event.remove(engine, "before_cursor_execute", _fail)

        assert (len(failures), result["created"]) == (1, 1)
        assert home.adapter("Ink portrait")["file_state"] == "present"
        assert len(rows(home.application.database)["run_adapters"]) == 1

    def test_two_imports_of_one_archive_at_once(self, make_home, archive):
        home = make_home(library_workers=2)
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda _n: take_in(home, archive), range(2)))

        assert sorted(result["created"] for result in results) == [0, 1]
        assert sorted(result["unchanged"] for result in results) == [0, 1]
        stored = rows(home.application.database)
        assert len(stored["adapters"]) == 4
        for table in ("jobs", "results", "result_images", "generation_runs", "run_adapters"):
            assert len(stored[table]) == 1, table
        names = {p.name for p in home.application.settings.import_path.rglob("*") if p.is_file()}
        assert names == {"ink.safetensors", "ink.json", "ink.preview.png"}

    def test_two_archives_of_one_name_at_once(self, make_home, tmp_path):
        home = make_home(library_workers=2)
        archives = []
        for number in range(2):
            members = {"styles/same.safetensors": model(number)}
            archives.append(zipped(tmp_path, members))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda a: take_in(home, a, conflict_resolution="rename"), archives))

        folder = home.application.settings.import_path / "styles"
        contents = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert set(contents) == {"same.safetensors", "same 2.safetensors"}
        assert set(contents.values()) == {model(0), model(1)}
        home.scan()
        assert len({record["name"] for record in home.adapters()}) == 5


class TestThePlanIsHeldAgainstThePresent:
    """Between plan and commit, others go on."""

    @pytest.fixture
    def planned(self, home, archive, tmp_path):
        importer = home.application.services.get(Importer)
        path = tmp_path / "kept.zip"
        path.write_bytes(archive)
        wishes = Wishes(importer.target(None), dict.fromkeys(KINDS, "replace"))
        with open_archive(path) as opened:
            plan = importer.plan(opened, wishes)
            journals = home.application.settings.data_dir / "journals"
            staged = StagedFiles(journals, "a-job", importer.roots())
            importer.stage(opened, plan, staged, lambda _count: None)

            def _apply():
                with home.application.database.write() as session:
                    importer.apply(session, opened, plan, staged)

            yield _apply
            staged.undo()

    def _fails(self, home, planned):
        before = rows(home.application.database)
        with pytest.raises(LibraryChanged):
            planned()
        assert rows(home.application.database) == before

    def test_nothing_happened(self, home, planned):
        planned()
        assert home.adapter("Ink portrait")["id"] == ADAPTER_ID

    def test_something_else_changed(self, home, planned):
        alice = home.adapter("alice")["id"]
        home.client.patch(f"/v1/adapters/{alice}", json={"notes": "mine"})
        planned()
        assert home.adapter("Ink portrait")["id"] == ADAPTER_ID

    def test_the_name_was_given(self, home, planned):
        alice = home.adapter("alice")
        body = {"name": "Ink portrait", "file_path": alice["file_path"]}
        assert home.client.post("/v1/adapters", json=body).status_code == 201
        self._fails(home, planned)

    def test_a_file_appeared(self, home, planned, tmp_path):
        write_lora(tmp_path / "loras" / "styles" / "ink.safetensors", seed=9)
        self._fails(home, planned)

    def test_a_job_appeared(self, home, planned, tmp_path):
        members = {k: v for k, v in own_members().items() if k == "tables/choices.jsonl"}
        take_in(home, zipped(tmp_path, sealed(members)))
        self._fails(home, planned)


class TestReplacedMeanwhile:
    def test_a_record_that_was_changed_after_the_plan(self, home, archive, tmp_path):
        take_in(home, archive)
        home.client.patch(f"/v1/adapters/{ADAPTER_ID}", json={"notes": "mine"})
        importer = home.application.services.get(Importer)
        changed = own_members()
        changed[f"adapters/{ADAPTER_ID}/record.json"] = dump(record(notes="theirs"))
        path = write_zip(tmp_path / "kept.zip", sealed(changed))
        wishes = Wishes(importer.target(None), dict.fromkeys(KINDS, "replace"))
        with open_archive(path) as opened:
            plan = importer.plan(opened, wishes)
            staged = StagedFiles(tmp_path / "journals", "a-job", importer.roots())
            home.client.patch(f"/v1/adapters/{ADAPTER_ID}", json={"notes": "newer"})
            with (
                pytest.raises(LibraryChanged),
                home.application.database.write() as session,
            ):
                importer.apply(session, opened, plan, staged)
        assert home.adapter("Ink portrait")["notes"] == "newer"


class _CancelledAt(FakeContext):
    """Is cancelled when that is asked for the n-th time."""

    def __init__(self, number, payload):
        super().__init__(payload=payload)
        self._left = number

    def is_cancelled(self):
        self._left -= 1
        return self._left < 0


def _job(home, archive):
    """The job of an import, and its order for an upload of that archive."""
    services, data_dir = home.application.services, home.application.settings.data_dir
    importer, uploads = services.get(Importer), services.get(UploadFolder)
    journals = data_dir / "journals"
    taking_in = TakingIn(importer, services.get(LibraryService), journals)
    job = ImportJob(
        importer,
        uploads,
        services.get(Secrets),
        taking_in,
        lambda _context, _reason, _replaced: "none",
        journals,
    )
    path = uploads.new()
    path.write_bytes(archive)
    return job, ImportOrder({}, upload=path.name)
