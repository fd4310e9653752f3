"""The scan on real folders: what it lists, what it leaves alone, and what it survives."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.naming import record_name
from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.queueing.base import JobCancelled, JobContext, JobProgress
from tests.fakes.lora_files import touch_later, write_lora


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


class TestFirstScan:
    def test_reads_what_the_header_tells(self, home):
        alice, zebra = home.adapter("alice"), home.adapter("Zebra")
        assert (alice["network_type"], alice["rank"], alice["alpha"]) == ("lora", 4, 2.0)
        assert (alice["base_model"], zebra["base_model"]) == ("SD 1.5", "SDXL")
        assert alice["base_model_source"] == "structure"
        assert alice["supports_generation"] is True
        assert alice["file_state"] == "present"

    def test_names_records_as_sdnext_names_files(self, home):
        assert home.adapter("ink_v2")["prompt_name"] == "ink_v2"

    def test_writes_nothing_into_the_library(self, home):
        before = _snapshot(home.library)
        home.scan()
        assert _snapshot(home.library) == before

    def test_reads_the_side_files_of_others(self, home):
        folder = home.library / "characters"
        info = {
            "name": "v3",
            "baseModel": "SD 1.5",
            "trainedWords": ["alicewords"],
            "model": {"name": "Alice in ink", "tags": ["girl", "ink"]},
            "creator": {"username": "tenniel"},
        }
        (folder / "alice.civitai.info").write_text(json.dumps(info))
        (folder / "alice.preview.png").write_bytes(b"png")
        report = home.scan()
        assert report["changed"] == 1
        alice = home.adapter("alice")
        assert alice["trained_words"] == ["alicewords"]
        assert sorted(alice["tags"]) == ["girl", "ink"]
        assert alice["author_username"] == "tenniel"
        assert alice["preview_url"].startswith(f"/v1/adapters/{alice['id']}/preview?v=")

    def test_a_weight_that_nobody_could_set_by_hand_is_not_taken(self, home):
        for name, weight in (("far", 101), ("near", -100)):
            write_lora(home.library / f"{name}.safetensors")
            (home.library / f"{name}.json").write_text(json.dumps({"preferred weight": weight}))
        home.scan()
        assert (home.adapter("far")["weight"], home.adapter("near")["weight"]) == (1.0, -100.0)


class TestRescan:
    def test_opens_nothing_when_nothing_changed(self, home):
        report = home.scan()
        assert (report["unchanged"], report["changed"], report["added"]) == (3, 0, 0)

    def test_reads_a_replaced_file_again_and_keeps_what_a_person_wrote(self, home):
        alice = home.adapter("alice")
        home.client.patch(
            f"/v1/adapters/{alice['id']}",
            json={"name": "mine", "tags": ["kept"], "description": "kept", "weight": 0.4},
        )
        path = write_lora(home.library / "characters/alice.safetensors", width=2048)
        touch_later(path)
        assert home.scan()["changed"] == 1
        again = home.adapter("mine")
        assert (again["id"], again["base_model"]) == (alice["id"], "SDXL")
        assert (again["tags"], again["description"], again["weight"]) == (["kept"], "kept", 0.4)

    def test_a_base_model_a_person_corrected_stays(self, home):
        alice = home.adapter("alice")
        home.client.patch(f"/v1/adapters/{alice['id']}", json={"base_model": "Pony"})
        touch_later(Path(alice["file_path"]))
        home.scan()
        again = home.adapter("alice")
        assert (again["base_model"], again["base_model_source"]) == ("Pony", "person")
        assert again["base_model_confidence"] == 1

    def test_poorer_news_does_not_replace_what_is_known(self, home):
        side = home.library / "characters" / "alice.txt"
        side.write_text("a long description")
        home.scan()
        side.unlink()
        home.scan()
        assert home.adapter("alice")["description"] == "a long description"

    def test_marks_a_missing_file_and_takes_it_back(self, home):
        alice = home.adapter("alice")
        path, away = Path(alice["file_path"]), home.library.parent / "away.safetensors"
        shutil.move(path, away)
        assert home.scan()["missing"] == 1
        assert home.adapter("alice")["file_state"] == "missing"
        assert home.scan()["missing"] == 0
        shutil.move(away, path)
        home.scan()
        back = home.adapter("alice")
        assert (back["id"], back["file_state"]) == (alice["id"], "present")

    def test_a_moved_file_keeps_its_record(self, home):
        alice = home.adapter("alice")
        home.client.patch(f"/v1/adapters/{alice['id']}", json={"notes": "mine"})
        target = home.library / "elsewhere" / "renamed.safetensors"
        target.parent.mkdir()
        Path(alice["file_path"]).rename(target)
        report = home.scan()
        assert (report["moved"], report["added"], report["missing"]) == (1, 0, 0)
        moved = next(r for r in home.adapters() if r["id"] == alice["id"])
        assert (moved["file_path"], moved["notes"]) == (str(target), "mine")
        assert moved["prompt_name"] == "renamed"


class TestRoots:
    def test_nested_roots_list_each_file_once(self, make_home, library):
        home = make_home(library_roots=(library, library / "styles"))
        assert len(home.adapters()) == 3

    def test_a_loop_of_links_ends(self, home):
        (home.library / "styles" / "loop").symlink_to(home.library, target_is_directory=True)
        assert home.scan()["found"] == 3

    def test_a_linked_folder_is_followed(self, home):
        write_lora(home.library.parent / "other drive" / "far.safetensors")
        (home.library / "far").symlink_to(home.library.parent / "other drive")
        home.scan()
        assert home.adapter("far")["file_state"] == "present"

    def test_a_root_that_is_gone_is_named_and_its_records_stay(self, home):
        home.library.rename(home.library.parent / "unplugged")
        report = home.scan()
        assert report["missing"] == 0
        assert "does not exist" in report["problems"][0]["reason"]
        overview = home.client.get("/v1/library").json()
        assert (overview["total"], overview["roots"][0]["ok"]) == (3, False)

    def test_without_any_root_a_scan_is_refused_with_advice(self, make_home):
        home = make_home(library_roots=())
        answer = home.client.post("/v1/library/scan")
        assert answer.status_code == 400
        assert "LIBRARY_ROOTS" in answer.json()["detail"]

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
    def test_a_folder_without_the_right_to_read_is_passed_over(self, home):
        locked = home.library / "styles"
        locked.chmod(0)
        try:
            report = home.scan()
        finally:
            locked.chmod(0o755)
        assert (report["missing"], len(report["problems"])) == (0, 1)


class TestBadFiles:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"\x10\0\0\0\0\0\0\0{", id="truncated header"),
            pytest.param(b"\xff" * 8 + b"{}", id="huge length"),
            pytest.param(b"\x02\0\0\0\0\0\0\0[]", id="no object"),
            pytest.param(b"PK\x03\x04 not a model at all", id="another format"),
        ],
    )
    def test_are_listed_with_the_reason_and_the_scan_goes_on(self, home, content):
        (home.library / "bad.safetensors").write_bytes(content)
        write_lora(home.library / "good.safetensors")
        report = home.scan()
        assert (report["unreadable"], report["added"]) == (1, 2)
        bad = home.adapter("bad")
        assert bad["file_problem"]
        assert bad["supports_generation"] is False
        assert home.adapter("good")["file_problem"] is None

    def test_a_pickle_is_listed_and_never_opened(self, home):
        (home.library / "old.pt").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
        home.scan()
        old = home.adapter("old")
        assert (old["file_problem"], old["network_type"]) == (None, None)

    def test_a_repaired_file_loses_its_problem(self, home):
        path = home.library / "bad.safetensors"
        path.write_bytes(b"")
        home.scan()
        touch_later(write_lora(path))
        home.scan()
        assert home.adapter("bad")["file_problem"] is None


class TestNames:
    def test_two_files_of_one_name_are_told_apart_by_folder(self, home):
        write_lora(home.library / "other" / "alice.safetensors", seed=9)
        home.scan()
        assert {r["name"] for r in home.adapters()} >= {"alice", "other/alice"}

    @pytest.mark.parametrize(
        ("stem", "folder", "taken", "name"),
        [
            ("a.b", "", set(), "a_b"),
            ("a:b>c=d", "", set(), "a_b_c_d"),
            ("a", "x/y", {"a"}, "x/y/a"),
            ("a", "x/y", {"a", "x/y/a"}, "x/y/a 2"),
            ("a", "", {"a", "a 2"}, "a 3"),
            ("   ", "", set(), "unnamed"),
        ],
        ids=str,
    )
    def test_are_free_and_writable(self, stem, folder, taken, name):
        assert record_name(stem, folder, taken) == name


class TestJob:
    def test_tells_its_progress_on_the_feed(self, home):
        recorder = home.record_feed()
        write_lora(home.library / "one.safetensors")
        job = home.client.post("/v1/library/scan").json()["job_id"]
        recorder.wait_for_end(job)
        events = recorder.of(job)
        assert events[0].type == "generation_started"
        assert (events[-1].type, events[-1].data["status"]) == ("generation_complete", "completed")
        assert events[-1].data["result"]["added"] == 1
        progress = [event.data["progress"] for event in events[:-1]]
        assert progress == sorted(progress)

    def test_stops_when_cancelled_and_keeps_what_it_has(self, home):
        for number in range(450):
            write_lora(home.library / "many" / f"m{number}.safetensors")

        class _CancelledAfterTheFirstBatch(JobContext):
            job_id, payload = "x", {}
            reports: list[JobProgress] = []

            def report(self, progress: JobProgress) -> None:
                self.reports.append(progress)

            def is_cancelled(self) -> bool:
                return len(self.reports) > 1

        database = home.application.services.get(Database)
        scan = LibraryScan(database, lambda: [home.library], lambda _files: {})
        with pytest.raises(JobCancelled):
            scan.run(_CancelledAfterTheFirstBatch())
        assert 3 < len(home.adapters()) < 453
        assert home.scan()["found"] == 453
        assert len(home.adapters()) == 453


class TestMeanwhile:
    """Somebody works on the catalogue while a scan reads."""

    def test_a_name_given_meanwhile_and_a_file_added_meanwhile_do_not_end_the_scan(self, home):
        added = write_lora(home.library / "new" / "z added.safetensors", seed=8)
        for number in range(250):
            write_lora(home.library / "new" / f"m{number:03}.safetensors", seed=number)

        class _Busy(JobContext):
            job_id, payload = "x", {}
            reports = 0

            def report(self, progress: JobProgress) -> None:
                self.reports += 1
                if self.reports == 2:  # the first batch is stored, the second is not
                    body = {"name": "m249", "file_path": str(added)}
                    assert home.client.post("/v1/adapters", json=body).status_code == 201

            def is_cancelled(self) -> bool:
                return False

        database = home.application.services.get(Database)
        LibraryScan(database, lambda: [home.library], lambda _files: {}).run(_Busy())
        records = home.adapters()
        assert len(records) == 3 + 251
        assert len({record["file_path"] for record in records}) == 254
        assert home.adapter("new/m249")["file_path"].endswith("m249.safetensors")
        assert home.adapter("m249")["file_path"] == str(added)


class TestHeader:
    def test_is_given_as_it_is_stored(self, home):
        header = home.client.get(f"/v1/adapters/{home.adapter('alice')['id']}/metadata").json()
        assert header["metadata"] == {"ss_output_name": "x"}
        assert len(header["tensors"]) == 3

    def test_of_a_broken_file_is_a_clear_error(self, home):
        (home.library / "bad.safetensors").write_bytes(b"")
        home.scan()
        answer = home.client.get(f"/v1/adapters/{home.adapter('bad')['id']}/metadata")
        assert answer.status_code == 400
