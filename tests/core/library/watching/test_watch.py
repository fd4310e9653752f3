"""Watching on real files: whatever happens below the roots is listed soon, without a scan job."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.scan import SCAN_JOB, LibraryScan
from lora_manager_core.library.telling import LIBRARY_CHANGED
from lora_manager_core.library.watching.native import NativeUnavailable, native_changes
from lora_manager_core.library.watching.service import LibraryWatch
from lora_manager_core.library.watching.settling import Settling
from lora_manager_core.queueing.base import CANCELLED, LIBRARY_LANE
from lora_manager_core.queueing.store import JobWriter
from tests.fakes.lora_files import touch_later, write_lora

_QUIET_S = 0.05


def _wait_for(condition: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up_at, "it did not come about"
        time.sleep(0.02)


def _no_events(_folders: Sequence[str], _stopped: threading.Event) -> Iterator[set[str]]:
    raise NativeUnavailable("The system's limit of watched folders is reached.")
    yield set()


@pytest.fixture
def watch(home) -> Iterator[Callable[..., LibraryWatch]]:
    """Start a watcher that hardly waits for files to settle; `roots` as in `LibraryWatch`."""
    started: list[LibraryWatch] = []

    def _watch(roots: Callable[[], Sequence[Path]] | None = None, **more: object) -> LibraryWatch:
        services = home.application.services
        watch = LibraryWatch(
            services.get(Database),
            services.get(LibraryScan),
            roots or (lambda: [home.library]),
            settling=Settling(quiet_s=_QUIET_S),
            **more,  # type: ignore[arg-type]
        )
        watch.start()
        started.append(watch)
        _wait_for(lambda: watch.state().method or watch.state().problem)
        return watch

    yield _watch
    for watch in started:
        watch.stop()


def _files(home) -> dict[str, str]:
    """Path below the library → state."""
    return {
        str(Path(record["file_path"]).relative_to(home.library)): record["file_state"]
        for record in home.adapters()
    }


@pytest.fixture(params=["events", "polling"])
def either_way(request, watch):
    """A watcher of each kind."""
    return watch(remote=lambda _folder: request.param == "polling")


class TestEitherWay:
    def test_new_moved_and_deleted_files_and_folders_are_noticed(self, home, either_way):
        ids = {record["name"]: record["id"] for record in home.adapters()}
        write_lora(home.library / "new folder/deep/new.safetensors", seed=11)
        (home.library / "characters/alice.safetensors").rename(home.library / "moved.safetensors")
        (home.library / "styles/Zebra.safetensors").unlink()
        expected = {
            "new folder/deep/new.safetensors": "present",
            "moved.safetensors": "present",
            "styles/Zebra.safetensors": "missing",
            "styles/ink.v2.safetensors": "present",
        }
        _wait_for(lambda: _files(home) == expected)
        by_path = {Path(r["file_path"]).name: r["id"] for r in home.adapters()}
        assert by_path["moved.safetensors"] == ids["alice"]

        (home.library / "styles").rename(home.library / "renamed")
        shutil.rmtree(home.library / "new folder")
        expected = {
            "new folder/deep/new.safetensors": "missing",
            "moved.safetensors": "present",
            "styles/Zebra.safetensors": "missing",
            "renamed/ink.v2.safetensors": "present",
        }
        _wait_for(lambda: _files(home) == expected)


class TestEvents:
    def test_replaced_files_and_side_files_are_read_again(self, home, watch):
        watch()
        touch_later(write_lora(home.library / "characters/alice.safetensors", width=2048))
        (home.library / "styles/Zebra.txt").write_text("striped")
        _wait_for(lambda: home.adapter("alice")["base_model"] == "SDXL")
        _wait_for(lambda: home.adapter("Zebra")["description"] == "striped")

    def test_a_download_is_listed_under_its_last_name_only(self, home, watch):
        watch()
        part = home.library / "b.safetensors.part"
        write_lora(home.library.parent / "x.safetensors", seed=5).rename(part)
        write_lora(home.library / "other.safetensors", seed=6)
        _wait_for(lambda: len(home.adapters()) == 4)
        part.rename(home.library / "b.safetensors")
        _wait_for(lambda: "b.safetensors" in _files(home))
        assert len(home.adapters()) == 5

    def test_a_linked_folder_is_watched_under_the_name_of_the_link(self, home, watch):
        away = home.library.parent / "away"
        write_lora(away / "first.safetensors", seed=5)
        (home.library / "far").symlink_to(away, target_is_directory=True)
        home.scan()
        watch()
        write_lora(away / "second.safetensors", seed=6)
        _wait_for(lambda: "far/second.safetensors" in _files(home))
        assert len(home.adapters()) == 5

    def test_changes_wait_while_a_scan_job_does(self, home, watch):
        watching = watch()
        with home.application.database.write() as session:
            blocker = JobWriter(session).create(SCAN_JOB, LIBRARY_LANE, {}, not_before="9999").id
        write_lora(home.library / "b.safetensors", seed=5)
        _wait_for(lambda: watching.state().waiting)
        assert len(home.adapters()) == 3
        with home.application.database.write() as session:
            session.get_one(Job, blocker).status = CANCELLED
        _wait_for(lambda: len(home.adapters()) == 4)

    def test_many_files_are_told_in_few_events(self, home, watch):
        recorder = home.record_feed()
        watch()
        first = write_lora(home.library.parent / "one.safetensors", seed=5)
        target = home.library / "many"
        target.mkdir()
        for number in range(300):
            shutil.copy(first, target / f"{number}.safetensors")
        _wait_for(lambda: len(home.adapters()) == 303)
        _wait_for(lambda: _told(recorder)["added"] == 300)
        assert len([e for e in recorder.events if e.type == LIBRARY_CHANGED]) < 50


def _told(recorder) -> dict[str, int]:
    events = [event.data for event in recorder.events if event.type == LIBRARY_CHANGED]
    return {name: sum(data[name] for data in events) for name in ("added", "missing")}


class TestRoots:
    def test_one_that_appears_later_is_listed_and_watched(self, make_home, library, tmp_path):
        late = tmp_path / "late"
        home = make_home(library_roots=(library, late), watch=True)
        write_lora(late / "a.safetensors", seed=5)
        _wait_for(lambda: len(home.adapters()) == 4)
        write_lora(late / "b.safetensors", seed=6)
        _wait_for(lambda: len(home.adapters()) == 5)

    def test_one_that_is_replaced_is_watched_again(self, home, watch):
        watch()
        home.library.rename(home.library.parent / "unplugged")
        (home.library.parent / "unplugged").rename(home.library)
        write_lora(home.library / "styles/b.safetensors", seed=5)
        _wait_for(lambda: "styles/b.safetensors" in _files(home))
        assert set(_files(home).values()) == {"present"}

    def test_our_own_folder_inside_a_root_is_left_alone(self, make_home, library):
        home = make_home(data_dir=library / "data", watch=True)
        watching = home.application.services.get(LibraryWatch)
        write_lora(library / "data" / "bin" / "x.safetensors", seed=5)
        write_lora(library / "b.safetensors", seed=6)
        _wait_for(lambda: "b.safetensors" in _files(home))
        _wait_for(lambda: not watching.state().waiting)
        assert len(home.adapters()) == 4


class TestState:
    def test_without_events_it_looks_itself_and_says_why_once(self, home, watch, caplog):
        watching = watch(changes=_no_events)
        _wait_for(lambda: watching.state().problem)
        state = watching.state()
        assert (state.active, state.method) == (True, "polling")
        assert "limit" in (state.problem or "")
        assert [r.message for r in caplog.records if "limit" in r.message] != []
        write_lora(home.library / "b.safetensors", seed=5)
        _wait_for(lambda: "b.safetensors" in _files(home))

    def test_the_library_says_how_it_is_watched(self, make_home):
        home = make_home(watch=True)
        _wait_for(lambda: home.client.get("/v1/library").json()["watching"]["active"])
        told = home.client.get("/v1/library").json()["watching"]
        assert told == {"active": True, "method": "events", "problem": None, "waiting": 0}

    def test_switched_off_it_says_so(self, home):
        told = home.client.get("/v1/library").json()["watching"]
        assert (told["active"], told["method"]) == (False, None)
        assert "`watch`" in told["problem"]


class TestNative:
    def test_a_folder_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(NativeUnavailable, match="does not tell of changes: No path"):
            next(native_changes([str(tmp_path / "none")], threading.Event()))
