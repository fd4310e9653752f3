"""Archives come in through the API, of every maker, and each adapter finds its place."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import event

from tests.fakes.sample_archives import (
    ADAPTER_ID,
    JOB_ID,
    PICTURE,
    dump,
    folder_members,
    lora_api_members,
    own_members,
    record,
    sealed,
)
from tests.importing import (
    ended,
    everything,
    export,
    rows,
    send,
    send_in_background,
    take_in,
    wait_until,
    zipped,
)


@pytest.fixture
def source(make_home, tmp_path, library):
    """A home whose library people worked on."""
    (library / "styles" / "ink.v2.preview.png").write_bytes(PICTURE)
    (library / "styles" / "ink.v2.json").write_text('{"activation text": "inkstyle"}')
    home = make_home()
    ink = home.adapter("ink_v2")["id"]
    change = {"notes": "mine", "tags": ["ink", "Best"], "rating": 5, "weight": 0.7}
    assert home.client.patch(f"/v1/adapters/{ink}", json=change).status_code == 200
    home.client.post(f"/v1/adapters/{ink}/activate", params={"ordinal": 3})
    return home


def _records(home):
    """All records, without what tells where their files lie."""
    ignored = ("file_path", "primary_file_local_path", "json_file_path", "prompt_name")
    return {
        record["id"]: {
            **{k: v for k, v in record.items() if k not in ignored},
            "preview_url": (record["preview_url"] or "").partition("?")[0],
        }
        for record in home.adapters()
    }


class TestRoundTrip:
    def test_into_a_library_that_lost_everything(self, source, library, tmp_path):
        archive = export(source)
        before = _records(source)
        ids = list(before)
        source.client.post("/v1/adapters/bulk", json={"action": "delete", "lora_ids": ids})
        files = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in library.rglob("*.*")}
        for path in files:
            path.unlink()

        result = take_in(source, archive)

        assert (result["created"], result["files_written"]) == (3, 5)
        assert _records(source) == before
        moved = {tmp_path / "loras" / path.relative_to(library): v for path, v in files.items()}
        assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in moved} == moved
        source.scan()
        report = source.scan()
        assert (report["unchanged"], report["changed"], report["added"]) == (3, 0, 0)
        ink = source.adapter("ink_v2")
        assert (ink["active"], ink["ordinal"], ink["prompt_name"]) == (True, 3, "ink_v2")
        assert source.client.get("/v1/adapters", params={"tags": "best"}).json()["filtered"] == 1
        assert source.client.get("/v1/adapters", params={"search": "mine"}).json()["filtered"] == 1
        assert len(source.client.get("/v1/library/excluded").json()["excluded"]) == 3

    def test_again_changes_nothing(self, source):
        archive = export(source)
        before = everything(source)

        result = take_in(source, archive)

        assert (result["unchanged"], result["files_written"]) == (3, 0)
        assert everything(source) == before

    def test_a_scan_made_the_records_anew(self, source):
        """Reinstalled: the files are here, what people wrote is in the archive."""
        archive, before = export(source), _records(source)
        ids = list(before)
        source.client.post("/v1/adapters/bulk", json={"action": "delete", "lora_ids": ids})
        for path in source.client.get("/v1/library/excluded").json()["excluded"]:
            body = {"file_path": path["file_path"]}
            source.client.post("/v1/library/excluded/restore", json=body)
        source.scan()
        assert set(_records(source)) & set(before) == set()

        result = take_in(source, archive, target=str(source.library))

        assert (result["updated"], result["created"], result["files_written"]) == (3, 0, 0)
        assert _records(source) == before

    def test_without_files_records_find_theirs(self, source):
        archive, before = export(source, lora_files=False), _records(source)
        ids = list(before)
        source.client.post("/v1/adapters/bulk", json={"action": "delete", "lora_ids": ids})

        result = take_in(source, archive)

        assert (result["created"], result["files_written"]) == (3, 0)
        assert _records(source) == before
        assert {r["file_state"] for r in source.adapters()} == {"present"}

    def test_what_is_nowhere_is_kept_as_missing(self, source, library, tmp_path):
        archive = export(source, lora_files=False, lora_metadata=False, previews=False)
        ids = [r["id"] for r in source.adapters()]
        source.client.post("/v1/adapters/bulk", json={"action": "delete", "lora_ids": ids})
        content = (library / "styles" / "ink.v2.safetensors").read_bytes()
        for path in library.rglob("*.*"):
            path.unlink()

        result = take_in(source, archive)

        ink = source.adapter("ink_v2")
        assert (ink["file_state"], ink["notes"]) == ("missing", "mine")
        place = tmp_path / "loras" / "styles" / "ink.v2.safetensors"
        assert ink["file_path"] == str(place)
        assert "not here" in result["adapters"][0]["note"]
        source.scan()  # the one that follows an import has ended by that
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
        source.scan()
        assert source.adapter("ink_v2")["file_state"] == "present"
        assert source.adapter("ink_v2")["notes"] == "mine"


class TestOtherMakers:
    def test_a_zipped_folder(self, home, tmp_path):
        result = take_in(home, zipped(tmp_path, folder_members()))

        assert (result["maker"], result["created"]) == ("folder", 2)
        assert [i["member"] for i in result["ignored"]] == ["styles/read me.txt"]
        ink = next(a for a in home.adapters() if "loras" in a["file_path"] and "ink" in a["name"])
        assert ink["name"] == "styles/ink_v2"  # `ink_v2` is here
        assert ink["file_path"] == str(tmp_path / "loras" / "styles" / "ink.v2.safetensors")
        assert ink["preview_url"] is not None
        assert ink["primary_file_size_kb"] > 0
        home.scan()
        assert home.scan()["unchanged"] == 5
        again = take_in(home, zipped(tmp_path, folder_members()))
        assert (again["unchanged"], again["files_written"]) == (2, 0)

    def test_an_archive_of_lora_api_backend(self, home, tmp_path):
        result = take_in(home, zipped(tmp_path, lora_api_members()))

        assert (result["maker"], result["created"]) == ("lora-api", 1)
        ink = home.adapter("Ink portrait")
        assert ink["id"] == ADAPTER_ID
        assert (ink["version"], ink["tags"], ink["weight"]) == ("v2", ["ink"], 0.8)
        assert ink["active"] is True
        assert ink["file_path"] == str(tmp_path / "loras" / "ink.safetensors")
        assert ink["activation_text"] == "inkstyle"  # of its side file
        again = take_in(home, zipped(tmp_path, lora_api_members()))
        assert again["unchanged"] == 1

    def test_the_import_folder_becomes_a_library_folder(self, make_home, tmp_path):
        home = make_home(library_roots=())
        assert home.client.get("/v1/library").json()["roots"] == []

        take_in(home, zipped(tmp_path, folder_members()))

        roots = home.client.get("/v1/library").json()["roots"]
        assert [root["path"] for root in roots] == [str(tmp_path / "loras")]
        assert home.scan()["found"] == 2


class TestEverythingElse:
    """Jobs, results with pictures, runs, choices, files taken out."""

    @pytest.fixture
    def archive(self, tmp_path):
        return zipped(tmp_path, sealed(own_members()))

    def test_comes_in(self, home, archive):
        result = take_in(home, archive)

        assert result["tables"] == dict.fromkeys(
            (
                "choices",
                "excluded_files",
                "feedback_events",
                "preferences",
                "collections",
                "collection_adapters",
                "stacks",
                "stack_entries",
                "jobs",
                "job_attempts",
                "results",
                "result_images",
                "generation_runs",
                "run_adapters",
            ),
            1,
        )
        picture = home.application.settings.outputs / "2026-07-23" / f"{JOB_ID}-0.png"
        assert picture.read_bytes() == PICTURE
        stored = rows(home.application.database)
        assert json.loads(stored["result_images"][0])["file_path"] == str(picture)
        run = json.loads(stored["run_adapters"][0])
        assert (run["adapter_id"], run["weight"]) == (ADAPTER_ID, 0.8)
        assert home.adapter("Ink portrait")["rating"] == 5

    def test_a_file_that_was_taken_out_is_scanned_again(self, home, tmp_path):
        archive, alice = export(home), home.adapter("alice")
        assert home.client.delete(f"/v1/adapters/{alice['id']}").status_code == 204
        assert len(home.client.get("/v1/library/excluded").json()["excluded"]) == 1

        take_in(home, archive, target=str(home.library))

        assert home.adapter("alice")["id"] == alice["id"]
        assert home.client.get("/v1/library/excluded").json()["excluded"] == []
        assert home.scan()["found"] == 3

    def test_again_changes_nothing(self, home, archive):
        take_in(home, archive)
        home.scan()  # the one that follows an import has ended by that
        before = everything(home)

        result = take_in(home, archive)

        assert (result["tables"], result["unchanged"]) == ({}, 1)
        assert everything(home) == before

    def test_a_run_whose_adapter_is_not_here_has_none(self, home, tmp_path):
        members = own_members()
        members = {k: v for k, v in members.items() if not k.startswith("adapters/")}
        take_in(home, zipped(tmp_path, sealed(members)))
        run = json.loads(rows(home.application.database)["run_adapters"][0])
        assert (run["adapter_id"], run["name"]) == (None, "Ink portrait")

    @pytest.mark.parametrize("table", ["job_attempts", "results", "result_images", "run_adapters"])
    def test_a_row_without_its_parent_is_refused(self, home, tmp_path, table):
        members = own_members()
        parent = "generation_runs" if table == "run_adapters" else "jobs"
        kept = {
            name: content
            for name, content in members.items()
            if not name.startswith(("tables/", "pictures/")) or name == f"tables/{table}.jsonl"
        }
        assert f"tables/{parent}.jsonl" not in kept
        before = everything(home)

        result = send(home, zipped(tmp_path, sealed(kept)))["results"][0]

        assert (result["status"], result["code"]) == ("error", "archive_refused"), result
        assert everything(home) == before


class TestUpload:
    def test_one_bad_file_of_three_stops_no_other(self, home, tmp_path):
        good = zipped(tmp_path, folder_members())
        other = zipped(tmp_path, sealed(own_members()))

        answer = send(home, good, b"no archive", other)

        assert (answer["success"], answer["processed_files"], answer["total_files"]) == (
            False,
            2,
            3,
        )
        assert [r["status"] for r in answer["results"]] == ["imported", "error", "imported"]
        assert [r["file"] for r in answer["results"]] == ["0.zip", "1.zip", "2.zip"]
        assert answer["results"][1]["code"] == "archive_refused"
        assert not list((home.application.settings.data_dir / "uploads").iterdir())

    def test_no_file(self, home):
        answer = home.client.post("/v1/import", files=[("config", (None, "{}"))])
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert "at least one archive" in answer.json()["detail"]

    @pytest.mark.parametrize(
        "config",
        [
            pytest.param('{"mode": "upside down"}', id="mode"),
            pytest.param('{"unknown": 1}', id="unknown"),
            pytest.param("not json", id="no-json"),
            pytest.param('{"target": "a\\u0000b"}', id="nul"),
        ],
    )
    def test_a_config_that_makes_no_sense(self, home, config):
        answer = home.client.post(
            "/v1/import", files=[("files", ("a.zip", b"x"))], data={"config": config}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "validation")
        assert answer.json()["errors"][0]["loc"][:2] == ["body", "config"]
        assert not list((home.application.settings.data_dir / "uploads").iterdir())

    def test_in_the_background(self, home, tmp_path):
        answer = send_in_background(home, zipped(tmp_path, folder_members()))
        result = answer["results"][0]
        assert result["status"] == "queued"
        job = ended(home, result["job_id"])
        assert (job["status"], job["result"]["created"]) == ("succeeded", 2)
        wait_until(lambda: not list((home.application.settings.data_dir / "uploads").iterdir()))

    def test_a_target_outside_the_library(self, home, tmp_path):
        result = send(home, zipped(tmp_path, folder_members()), target=str(tmp_path / "elsewhere"))[
            "results"
        ][0]
        assert (result["status"], result["code"]) == ("error", "path_outside_roots")
        assert not (tmp_path / "elsewhere").exists()

    def test_nobody_uploads_without_credentials(self, make_home, tmp_path):
        home = make_home(api_key="12345678")
        answer = home.client.post("/v1/import", files=[("files", ("a.zip", b"x"))])
        assert answer.status_code == 401
        assert not (home.application.settings.data_dir / "uploads").exists()

    def test_a_password(self, source):
        archive = export(source, encrypt=True, password="open it")
        assert send(source, archive)["results"][0]["code"] == "password_needed"
        wrong = send(source, archive, password="open")["results"][0]
        assert wrong["code"] == "wrong_password"
        assert take_in(source, archive, password="open it")["unchanged"] == 3
        secrets = source.application.settings.data_dir / "secrets"
        assert not list(secrets.iterdir())
        assert "open it" not in json.dumps(rows(source.application.database))


class TestDryRun:
    def test_tells_all_and_changes_nothing(self, home, tmp_path):
        archive = zipped(tmp_path, sealed(own_members()))
        before = everything(home)

        result = take_in(home, archive, mode="dry-run")

        assert (result["status"], result["created"], result["files_written"]) == (
            "validated",
            1,
            4,
        )
        assert everything(home) == before
        real = take_in(home, archive)
        assert real["adapters"] == result["adapters"]
        assert real["tables"] == result["tables"]


class TestManyAdapters:
    def test_the_number_of_queries_does_not_grow_with_them(self, home, tmp_path):
        few = _statements(home, zipped(tmp_path, sealed(_many(20))))
        many = _statements(home, zipped(tmp_path, sealed(_many(400))))
        assert many == few

    def test_lists_are_cut_and_counts_are_not(self, home, tmp_path):
        result = take_in(home, zipped(tmp_path, sealed(_many(1200))), mode="dry-run")
        assert (result["created"], len(result["adapters"])) == (1200, 1000)


def _many(count):
    members = {}
    for number in range(count):
        adapter_id = f"00000000-0000-4000-8000-{number:012}"
        name = f"many {number}"
        members[f"adapters/{adapter_id}/record.json"] = dump(
            record(
                adapter_id,
                name=name,
                location={"file_name": f"{name}.safetensors"},
                files=[],
            )
        )
    return members


def _statements(home, archive):
    """How many queries a trial of an import makes."""
    seen = []

    def _count(*args):
        seen.append(args[2])

    engine = home.application.database.engine
    event.listen(engine, "before_cursor_execute", _count)
    try:
        take_in(home, archive, mode="dry-run", validate=False)
    finally:
        event.remove(engine, "before_cursor_execute", _count)
    return sum("adapters" in statement for statement in seen)
