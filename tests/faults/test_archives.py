"""What goes wrong in the middle of an import or a restore leaves the old state, or the new one."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from lora_manager_core.bootstrap import Application, Parts, build_application
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.feed.base import PROGRESS, Feed, FeedEvent
from lora_manager_core.import_export.backups.service import BackupService
from lora_manager_core.import_export.exports.service import ExportService
from lora_manager_core.import_export.imports.service import ImportService
from lora_manager_core.import_export.imports.staging import STAGING_FOLDER
from lora_manager_core.import_export.schemas import (
    BackupRequest,
    ExportRequest,
    ImportConfig,
    ImportResult,
)
from lora_manager_core.queueing.base import CANCELLED, ENDED, SUCCEEDED
from lora_manager_core.queueing.store import JobWriter
from lora_manager_core.settings import Settings
from tests.fakes.backend import FakeBackend
from tests.fakes.killed import Case, Program
from tests.fakes.outage import Outage
from tests.libraries import Library, build, empty, plain_library
from tests.library_state import State, read_state

pytestmark = pytest.mark.timeout(300)

_PATIENCE_S = 60.0
_OURS = plain_library("ours", range(1, 3))
_THEIRS = plain_library("theirs", range(3))


class Place:
    """The folders and the database of one installation that is to be disturbed."""

    def __init__(self, database: Database, url: str, folder: Path) -> None:
        self.database = database
        self.url = url
        self.folder = folder
        self.library = folder / "library"

    def begin(self, library: Library = _OURS) -> None:
        """Hold this library, as if nothing had happened."""
        for name in ("library", "outputs", "journals"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        with self.database.write() as session:
            empty(session)
            session.execute(delete(Job))
        build(library, self.database, self.library, self.folder / "outputs")

    def state(self) -> State:
        """Everything but what only tells when it was done."""
        return read_state(self.database, [self.library]).timeless()

    def leftovers(self) -> list[Path]:
        """Staged files, journals and unfinished pictures that nobody needs any more."""
        folders = [self.folder / "journals", *self.library.rglob(STAGING_FOLDER)]
        found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return [*found, *folders[1:]]

    def cancel(self) -> None:
        """As `Jobs.cancel` does, while no process is there that could be told."""
        with self.database.write() as session:
            store = JobWriter(session)
            for job in store.list_unfinished(["archive.import", "archive.restore"]):
                assert store.cancel_pending(job.id) or store.request_cancel(job.id)

    def job(self) -> Job | None:
        """The import or restore."""
        with self.database.read() as session:
            query = select(Job).where(Job.kind.in_(("archive.import", "archive.restore")))
            return session.scalars(query).first()


@pytest.fixture
def place(database: Database, database_url: str, tmp_path: Path) -> Place:
    """It holds our library."""
    place = Place(database, database_url, tmp_path / "here")
    place.folder.mkdir()
    place.begin()
    return place


def _application(folder: Path, url: str, library: Path, **settings: Any) -> Application:
    given: dict[str, Any] = {
        "data_dir": folder,
        "database_url": url,
        "library_roots": (library,),
        "import_path": library,
        "backup_every_h": 0,
        **settings,
    }
    return build_application(Settings(**given), Parts(backends=lambda _database: [FakeBackend()]))


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An export (for `import`) and a backup (for `restore`) of their library."""
    folder = tmp_path_factory.mktemp("theirs")
    url = f"sqlite:///{(folder / 'theirs.sqlite3').as_posix()}"
    application = _application(folder / "data", url, folder / "library")
    application.start()
    try:
        outputs = application.settings.outputs
        build(_THEIRS, application.database, folder / "library", outputs)
        request = ExportRequest(generations=True, user_data=True, analytics=True)
        with closing(application.services.get(ExportService).stream(request)) as pieces:
            (folder / "export.zip").write_bytes(b"".join(pieces))
        backups = application.services.get(BackupService)
        backup_id = backups.create(BackupRequest()).backup_id
        shutil.copy(backups.file(backup_id), folder / "backup.zip")
    finally:
        application.stop()
    return {"import": folder / "export.zip", "restore": folder / "backup.zip"}


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    """One for all cases."""
    with Program() as running:
        yield running


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the program runs cases in forks")
class TestKilledAtACommit:
    """Right before or right after each of them, and then started again."""

    @pytest.mark.parametrize(
        ("scenario", "before"),
        [
            pytest.param("import", True, id="an import, before"),
            pytest.param("restore", False, id="a restore, after"),
        ],
    )
    def test_it_is_done_in_the_end(
        self,
        program: Program,
        place: Place,
        archives: dict[str, Path],
        scenario: str,
        before: bool,
    ) -> None:
        ends = self._kill_at_each(program, place, archives[scenario], scenario, before, False)

        assert ends[0] in (None, SUCCEEDED)  # before it was asked for
        assert set(ends[1:]) == {SUCCEEDED}

    @pytest.mark.parametrize(
        ("scenario", "before"),
        [
            pytest.param("import", False, id="an import, after"),
            pytest.param("restore", True, id="a restore, before"),
        ],
    )
    def test_it_is_taken_back_if_somebody_cancelled_it(
        self,
        program: Program,
        place: Place,
        archives: dict[str, Path],
        scenario: str,
        before: bool,
    ) -> None:
        ends = self._kill_at_each(program, place, archives[scenario], scenario, before, True)

        assert CANCELLED in ends
        assert ends[-1] == SUCCEEDED

    def _kill_at_each(
        self,
        program: Program,
        place: Place,
        archive: Path,
        scenario: str,
        before: bool,
        cancelled: bool,
    ) -> list[str | None]:
        """Gives how the job ended after each kill, and at last without one."""
        shutil.copy(archive, place.folder / "archive.zip")
        case = Case(str(place.folder), place.url, scenario, uuid.uuid4().hex)
        old = place.state()
        assert not program.run(case).killed
        new = place.state()
        assert new.differences(old) != []
        ends: list[str | None] = []
        for number in count(1):
            place.begin()
            killed = program.run(replace(case, kill_at=number, before=before)).killed
            if cancelled and killed:
                place.cancel()
            assert not program.run(replace(case, scenario="recover archives")).killed
            job = place.job()
            ends.append(None if job is None else job.status)
            expected = new if ends[-1] == SUCCEEDED else old
            assert place.state().differences(expected) == [], f"commit {number}: {ends[-1]}"
            assert place.leftovers() == []
            if not killed:
                return ends
        raise AssertionError


@pytest.fixture
def start(place: Place) -> Iterator[Callable[..., Application]]:
    """Starts the application on the place; stops it after the test."""
    started: list[Application] = []

    def _start(**settings: Any) -> Application:
        library = settings.pop("library", place.library)
        started.append(_application(place.folder, place.url, library, **settings))
        started[-1].start()
        return started[-1]

    yield _start
    for application in started:
        application.stop()


def _import(application: Application, archive: Path, **config: Any) -> ImportResult:
    wishes = ImportConfig(conflict_resolution="replace", backup_before=False, **config)
    return application.services.get(ImportService).take_file(archive, wishes)


def _fill(disk: Path, but: int) -> None:
    """Leave only so many bytes free."""
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(free - but))
    assert shutil.disk_usage(disk).free == but


class TestATarget:
    """On a disk of its own, where something is wrong."""

    @pytest.fixture
    def into_disk(
        self,
        place: Place,
        start: Callable[..., Application],
        archives: dict[str, Path],
        tiny_disk: Path,
    ) -> Callable[[], ImportResult]:
        """Imports onto that disk, and sees that nothing else changed."""
        place.begin(plain_library("others", (7, 8)))
        application = start(library_roots=(place.library, tiny_disk))

        def _into_disk() -> ImportResult:
            old, there = place.state(), sorted(tiny_disk.rglob("*"))
            result = _import(application, archives["import"], target=str(tiny_disk))
            if result.status == "error":
                assert place.state().differences(old) == []
                assert sorted(tiny_disk.rglob("*")) == there
            assert place.leftovers() == []
            return result

        return _into_disk

    def test_without_room_is_noticed_before_anything_is_written(
        self, into_disk: Callable[[], ImportResult], tiny_disk: Path
    ) -> None:
        _fill(tiny_disk, but=8192)

        result = into_disk()

        assert (result.status, result.code) == ("error", "disk_full")
        assert "8,192 are free" in (result.detail or "")

    def test_that_is_full_in_the_middle_is_left_as_it_was(
        self, into_disk: Callable[[], ImportResult], tiny_disk: Path
    ) -> None:
        """There is room for all bytes, and none for so many files: each takes whole pages."""
        _fill(tiny_disk, but=32768)

        result = into_disk()

        assert (result.status, result.code) == ("error", "disk_full")
        assert "disk is full" in (result.detail or "")

    def test_that_nobody_may_write_to_is_left_as_it_was(
        self, into_disk: Callable[[], ImportResult], tiny_disk: Path
    ) -> None:
        remount = ["mount", "-o", "remount,ro", str(tiny_disk)]
        subprocess.run(remount, check=True)

        result = into_disk()

        assert (result.status, result.code) == ("error", "storage_failed")

    def test_with_room_takes_it_all(self, into_disk: Callable[[], ImportResult]) -> None:
        assert into_disk().status == "imported"


@pytest.mark.parametrize(
    ("units", "after_commit"),
    [pytest.param(4, False, id="gone"), pytest.param(1, True, id="silent after the last commit")],
)
def test_a_database_that_is_gone_in_the_middle_is_waited_for(
    place: Place,
    start: Callable[..., Application],
    archives: dict[str, Path],
    units: int,
    after_commit: bool,
) -> None:
    application = start()
    assert _import(application, archives["import"]).status == "imported"
    _wait_until_quiet(application)
    new = place.state()
    place.begin()
    outage = Outage(application.database, units, after_commit)
    asked: list[str | None] = []
    begun, ended = threading.Event(), threading.Event()

    def _listen(event: FeedEvent) -> None:
        if event.type == PROGRESS and event.data["progress"] and not begun.is_set():
            begun.set()
            outage.__enter__()
        if event.is_end and event.job_id in asked:
            ended.set()

    application.services.get(Feed).subscribe(_listen)  # type: ignore[type-abstract]
    try:
        asked.append(_import(application, archives["import"], background=True).job_id)
        assert ended.wait(_PATIENCE_S)
    finally:
        if begun.is_set():
            outage.__exit__()
    _wait_until_quiet(application)

    job = place.job()
    assert outage.refused == units
    assert job is not None
    assert job.status == SUCCEEDED, (job.status, job.error)
    assert place.state().differences(new) == []
    assert place.leftovers() == []


def _wait_until_quiet(application: Application) -> None:
    """Until no job waits or runs; the scan behind an import among them."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while True:
        with application.database.read() as session:
            if session.scalar(select(Job.id).where(Job.status.not_in(ENDED)).limit(1)) is None:
                return
        assert time.monotonic() < give_up_at, "jobs do not end"
        time.sleep(0.02)
