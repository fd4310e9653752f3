"""What happens where an archive meets other data of the same name: every rule for every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lora_manager_core.import_export.archive.reader import open_archive
from tests.fakes.lora_files import write_lora
from tests.fakes.sample_archives import (
    ADAPTER_ID,
    JOB_ID,
    OTHER_ID,
    PICTURE,
    dump,
    folder_members,
    model,
    own_members,
    record,
    rows,
    sealed,
)
from tests.importing import everything, send, take_in, tree, zipped
from tests.importing import rows as stored_rows

_RECORD = f"adapters/{ADAPTER_ID}/record.json"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "loras" / "styles"


@pytest.fixture
def archive(tmp_path):
    """Make an archive of one adapter; keyword arguments change its columns."""

    def _make(members=None, **changes):
        made = {n: c for n, c in own_members().items() if n.startswith("adapters/")}
        made[_RECORD] = dump(record(**changes))
        made.update(members or {})
        return zipped(tmp_path, sealed(made))

    return _make


def _settled(home, archive):
    """Take an archive in and wait for the scan that follows."""
    result = take_in(home, archive)
    home.scan()
    return result


class TestAdapters:
    KEY = f"adapters:{ADAPTER_ID}"

    @pytest.fixture
    def ours(self, home, archive):
        """The adapter is here, and a person wrote other things of it since."""
        _settled(home, archive(rating=None, tags=["ink"], edited_fields=["notes"]))
        change = {"notes": "ours", "tags": ["ink", "here"], "nsfw_level": 4}
        assert home.client.patch(f"/v1/adapters/{ADAPTER_ID}", json=change).status_code == 200
        return home

    @pytest.fixture
    def theirs(self, archive):
        return archive(
            notes="theirs",
            tags=["Ink", "there"],
            rating=4,
            description="told there",
            edited_fields=["notes", "rating"],
            created_at="2020-01-01T00:00:00.000000Z",
            updated_at="2020-01-02T00:00:00.000000Z",
        )

    def test_ask_lists_it_and_changes_nothing(self, ours, theirs):
        before = everything(ours)

        answer = send(ours, theirs)

        result = answer["results"][0]
        assert (answer["success"], result["status"]) == (False, "conflicts")
        conflict = result["conflicts"][0]
        assert (conflict["key"], conflict["kind"]) == (self.KEY, "adapters")
        assert conflict["rule"] == "ask"
        assert set(conflict["differs"]) == {"notes", "tags", "rating", "nsfw_level"}
        assert everything(ours) == before

    def test_a_decision_counts_more_than_a_rule(self, ours, theirs):
        take_in(ours, theirs, conflict_resolution="skip", decisions={self.KEY: "replace"})
        assert ours.adapter("Ink portrait")["notes"] == "theirs"

    def test_a_rule_of_the_kind_counts_more_than_the_rule(self, ours, theirs):
        take_in(ours, theirs, conflict_resolution="ask", rules={"adapters": "replace"})
        assert ours.adapter("Ink portrait")["notes"] == "theirs"

    def test_skip_keeps_ours(self, ours, theirs):
        before = everything(ours)
        result = take_in(ours, theirs, conflict_resolution="keep_existing")
        assert (result["skipped"], result["files_written"]) == (1, 0)
        assert everything(ours) == before

    def test_replace_takes_theirs(self, ours, theirs):
        result = take_in(ours, theirs, conflict_resolution="overwrite")
        ink = ours.adapter("Ink portrait")
        assert (result["updated"], ink["id"], ink["rating"]) == (1, ADAPTER_ID, 4)
        assert (ink["notes"], ink["tags"]) == ("theirs", ["Ink", "there"])
        assert ink["created_at"] == "2020-01-01T00:00:00.000000Z"
        assert ink["updated_at"] == "2020-01-02T00:00:00.000000Z"
        assert ours.client.get("/v1/adapters", params={"tags": "here"}).json()["filtered"] == 0
        assert ours.client.get("/v1/adapters", params={"search": "told"}).json()["filtered"] == 1

    def test_merge_loses_nothing_of_either(self, ours, theirs):
        take_in(ours, theirs, conflict_resolution="merge")
        ink = ours.adapter("Ink portrait")
        assert (ink["notes"], ink["rating"], ink["description"]) == ("ours", 4, "told there")
        assert (ink["tags"], ink["nsfw_level"]) == (["ink", "here", "there"], 4)
        assert ours.client.get("/v1/adapters", params={"tags": "there"}).json()["filtered"] == 1

    def test_rename_keeps_both(self, ours, theirs, target):
        result = take_in(ours, theirs, conflict_resolution="rename")
        ink, other = ours.adapter("Ink portrait"), ours.adapter("Ink portrait 2")
        assert (ink["notes"], other["notes"]) == ("ours", "theirs")
        assert (ink["id"], other["id"]) == (ADAPTER_ID, result["adapters"][0]["id"])
        assert ink["file_path"] == other["file_path"] == str(target / "ink.safetensors")

    @pytest.mark.parametrize("rule", ["skip", "merge"])
    def test_other_contents_stay_out(self, ours, archive, target, rule):
        other = archive({f"adapters/{ADAPTER_ID}/files/ink.safetensors": model(9)}, notes="theirs")
        take_in(ours, other, conflict_resolution=rule)
        assert (target / "ink.safetensors").read_bytes() == model()

    def test_other_contents_are_kept_beside(self, ours, archive, target):
        other = archive({f"adapters/{ADAPTER_ID}/files/ink.safetensors": model(9)}, notes="theirs")
        take_in(ours, other, conflict_resolution="rename")
        assert (target / "ink.safetensors").read_bytes() == model()
        assert (target / "ink 2.safetensors").read_bytes() == model(9)
        assert (target / "ink 2.preview.png").read_bytes() == PICTURE
        assert ours.adapter("Ink portrait 2")["file_path"] == str(target / "ink 2.safetensors")

    def test_other_contents_replace_ours_and_a_backup_has_them(self, ours, archive, target):
        other = archive({f"adapters/{ADAPTER_ID}/files/ink.safetensors": model(9)}, notes="theirs")

        result = take_in(ours, other, conflict_resolution="replace", backup_before=True)

        assert (target / "ink.safetensors").read_bytes() == model(9)
        folder = ours.application.settings.data_dir / "backups"
        kept = next(folder.glob(f"*{result['backup_id']}*.zip"))
        with open_archive(kept) as backup:
            ink = next(r for r in backup.adapters() if r.columns["id"] == ADAPTER_ID)
            assert ink.columns["notes"] == "ours"
            copy = folder.parent / "copy"
            backup.copy(ink.model.member, copy, lambda _count: None)
        assert copy.read_bytes() == model()
        ours.scan()
        assert ours.scan()["unchanged"] == 4

    def test_names_can_be_exchanged(self, home, tmp_path):
        def _two(first, second):
            return zipped(
                tmp_path,
                sealed(
                    {
                        f"adapters/{i}/record.json": dump(
                            record(i, name=n, location={"file_name": f"{i}.safetensors"}, files=[])
                        )
                        for i, n in ((ADAPTER_ID, first), (OTHER_ID, second))
                    }
                ),
            )

        take_in(home, _two("one", "two"))
        take_in(home, _two("two", "one"), conflict_resolution="replace")
        assert home.adapter("two")["id"] == ADAPTER_ID
        assert home.adapter("one")["id"] == OTHER_ID

    def test_a_name_that_another_has_gets_a_number(self, home, archive):
        alice = home.adapter("alice")["id"]
        home.client.patch(f"/v1/adapters/{alice}", json={"notes": "mine"})
        result = take_in(home, archive(name="alice"), conflict_resolution="rename")
        assert result["adapters"][0]["name"] == "alice 2"
        assert home.adapter("alice 2")["id"] == ADAPTER_ID
        assert home.adapter("alice")["id"] == alice


class TestFiles:
    KEY = "files:styles/ink.safetensors"

    @pytest.fixture
    def taken(self, home, target):
        """Another file has the place; a scan listed it."""
        write_lora(target / "ink.safetensors", seed=7)
        home.scan()
        return home

    def test_ask(self, taken, archive):
        before = everything(taken)
        result = send(taken, archive())["results"][0]
        assert result["status"] == "conflicts"
        assert [c["key"] for c in result["conflicts"]] == [self.KEY]
        assert result["conflicts"][0]["differs"] == ["ink.safetensors"]
        assert everything(taken) == before
        take_in(taken, archive(), decisions={self.KEY: "rename"})

    @pytest.mark.parametrize("rule", ["skip", "merge"])
    def test_skip(self, taken, archive, rule):
        before = everything(taken)
        result = take_in(taken, archive(), conflict_resolution=rule)
        assert (result["skipped"], result["created"]) == (1, 0)
        assert everything(taken) == before

    def test_replace_adopts_the_record_of_the_file(self, taken, archive, target):
        take_in(taken, archive(), conflict_resolution="replace")
        assert (target / "ink.safetensors").read_bytes() == model()
        assert taken.adapter("Ink portrait")["id"] == ADAPTER_ID
        assert len(taken.adapters()) == 4
        taken.scan()
        assert taken.scan()["unchanged"] == 4

    def test_rename(self, taken, archive, target):
        before = (target / "ink.safetensors").read_bytes()
        take_in(taken, archive(), conflict_resolution="rename")
        assert (target / "ink.safetensors").read_bytes() == before
        assert sorted(p.name for p in target.iterdir()) == [
            "ink 2.json",
            "ink 2.preview.png",
            "ink 2.safetensors",
            "ink.safetensors",
        ]
        ink = taken.adapter("Ink portrait")
        assert ink["file_path"] == str(target / "ink 2.safetensors")
        assert ink["preview_url"] is not None

    def test_names_that_differ_in_case_only(self, home, archive, target):
        write_lora(target / "INK.SAFETENSORS", seed=7)
        home.scan()
        result = send(home, archive())["results"][0]
        assert [c["key"] for c in result["conflicts"]] == [self.KEY]
        take_in(home, archive(), conflict_resolution="rename")
        assert (target / "ink 2.safetensors").exists()

    def test_a_link_that_leads_nowhere(self, home, archive, target):
        target.mkdir(parents=True)
        (target / "ink.safetensors").symlink_to(target / "gone.safetensors")
        result = send(home, archive())["results"][0]
        assert [c["key"] for c in result["conflicts"]] == [self.KEY]
        take_in(home, archive(), conflict_resolution="replace")
        assert not (target / "ink.safetensors").is_symlink()
        assert (target / "ink.safetensors").read_bytes() == model()
        assert not (target / "gone.safetensors").exists()

    def test_a_link_that_leads_outside_is_not_followed(self, home, archive, target, tmp_path):
        (tmp_path / "outside").mkdir()
        target.parent.mkdir(parents=True)
        target.symlink_to(tmp_path / "outside", target_is_directory=True)
        result = send(home, archive())["results"][0]
        assert (result["status"], result["code"]) == ("error", "path_outside_roots")
        assert list((tmp_path / "outside").iterdir()) == []

    def test_two_of_one_archive(self, home, tmp_path, target):
        """As from two library folders with the same folders in them."""
        members = {}
        for number, adapter_id in enumerate((ADAPTER_ID, OTHER_ID)):
            member = f"adapters/{adapter_id}/files/ink.safetensors"
            files = [{"member": member, "kind": "model", "name": "ink.safetensors", "mtime_ns": 1}]
            one = record(adapter_id, name=f"number {number}", files=files)
            members[f"adapters/{adapter_id}/record.json"] = dump(one)
            members[member] = model(number)

        result = take_in(home, zipped(tmp_path, sealed(members)))

        assert (result["created"], result["conflicts"]) == (2, [])
        places = [Path(adapter["file_path"]) for adapter in result["adapters"]]
        assert places == [target / "ink.safetensors", target / "ink 2.safetensors"]
        assert [path.read_bytes() for path in places] == [model(0), model(1)]
        again = take_in(home, zipped(tmp_path, sealed(members)))
        assert (again["unchanged"], again["files_written"]) == (2, 0)

    def test_two_records_of_one_file_share_it(self, home, tmp_path, target):
        member = f"adapters/{ADAPTER_ID}/files/ink.safetensors"
        files = [{"member": member, "kind": "model", "name": "ink.safetensors", "mtime_ns": 1}]
        members = {
            f"adapters/{i}/record.json": dump(record(i, version=v, files=files))
            for i, v in ((ADAPTER_ID, "1"), (OTHER_ID, "2"))
        }
        members[member] = model()

        result = take_in(home, zipped(tmp_path, sealed(members)))

        assert (result["created"], result["files_written"]) == (2, 1)
        assert {a["file_path"] for a in result["adapters"]} == {str(target / "ink.safetensors")}

    def test_a_side_file_of_the_same_adapter(self, home, archive, target):
        _settled(home, archive())
        (target / "ink.json").write_text('{"notes": "written here"}')
        home.scan()
        result = send(home, archive())["results"][0]
        assert [c["differs"] for c in result["conflicts"]] == [["ink.json"]]
        take_in(home, archive(), conflict_resolution="skip")
        assert "written here" in (target / "ink.json").read_text()
        take_in(home, archive(), conflict_resolution="replace")
        assert "inkstyle" in (target / "ink.json").read_text()

    def test_a_zipped_folder_replaces_a_file_and_its_record_stays(self, taken, tmp_path, target):
        home = taken
        ink = home.adapter("ink")["id"]
        home.client.patch(f"/v1/adapters/{ink}", json={"notes": "mine"})
        members = {"styles/ink.safetensors": folder_members()["styles/ink.v2.safetensors"]}
        take_in(home, zipped(tmp_path, members), conflict_resolution="replace")
        home.scan()
        home.scan()
        assert home.adapter("ink")["notes"] == "mine"
        assert home.adapter("ink")["primary_file_size_kb"] == round(len(model()) / 1024, 3)
        assert len(home.adapters()) == 4


class TestResults:
    KEY = f"results:{JOB_ID}"

    @pytest.fixture
    def made(self, tmp_path):
        def _make(picture=PICTURE, rating=None, prompt="ink"):
            members = own_members()
            changed = rows()
            changed["jobs"][0]["payload"] = {"prompt": prompt}
            changed["jobs"][0]["result"] = {"images": [f"/generation/results/{JOB_ID}/images/0"]}
            changed["results"][0].update(rating=rating, is_favorite=False)
            for table in ("jobs", "results"):
                members[f"tables/{table}.jsonl"] = dump(changed[table][0]) + b"\n"
            members[f"pictures/{JOB_ID}/0.png"] = picture
            return zipped(tmp_path, sealed(members))

        return _make

    @pytest.fixture
    def here(self, home, made):
        _settled(home, made())
        return home

    @pytest.fixture
    def theirs(self, made):
        return made(PICTURE + b"other", rating=3, prompt="other")

    @staticmethod
    def _jobs(home):
        stored = stored_rows(home.application.database)
        jobs = {row["id"]: row for row in map(json.loads, stored["jobs"])}
        results = {row["job_id"]: row for row in map(json.loads, stored["results"])}
        images = {row["job_id"]: row for row in map(json.loads, stored["result_images"])}
        return jobs, results, images

    def test_ask(self, here, theirs):
        before = everything(here)
        result = send(here, theirs)["results"][0]
        assert (result["status"], result["conflicts"][0]["key"]) == ("conflicts", self.KEY)
        assert set(result["conflicts"][0]["differs"]) == {"payload", "rating"}
        assert everything(here) == before

    def test_skip(self, here, theirs):
        before = everything(here)
        take_in(here, theirs, conflict_resolution="skip")
        assert everything(here) == before

    def test_replace(self, here, theirs):
        take_in(here, theirs, conflict_resolution="replace")
        jobs, results, images = self._jobs(here)
        assert list(jobs) == list(results) == list(images) == [JOB_ID]
        assert jobs[JOB_ID]["payload"] == {"prompt": "other"}
        assert results[JOB_ID]["rating"] == 3
        assert Path(images[JOB_ID]["file_path"]).read_bytes() == PICTURE + b"other"
        assert len(tree(here.application.settings.outputs)) == 1

    def test_rename(self, here, theirs):
        take_in(here, theirs, conflict_resolution="rename")
        jobs, results, images = self._jobs(here)
        other = next(job_id for job_id in jobs if job_id != JOB_ID)
        assert (len(jobs), set(results), set(images)) == (2, set(jobs), set(jobs))
        assert (results[JOB_ID]["rating"], results[other]["rating"]) == (None, 3)
        assert Path(images[JOB_ID]["file_path"]).read_bytes() == PICTURE
        assert Path(images[other]["file_path"]).read_bytes() == PICTURE + b"other"
        assert other in json.dumps(jobs[other]["result"])
        assert JOB_ID not in json.dumps(jobs[other])
        runs = stored_rows(here.application.database)["generation_runs"]
        assert {json.loads(run)["job_id"] for run in runs} == {JOB_ID, other}

    def test_merge_fills_the_rating(self, here, theirs):
        take_in(here, theirs, conflict_resolution="merge")
        jobs, results, images = self._jobs(here)
        assert results[JOB_ID]["rating"] == 3
        assert "other" not in json.dumps(jobs)
        assert Path(images[JOB_ID]["file_path"]).read_bytes() == PICTURE


class TestChoices:
    @pytest.fixture
    def here(self, home, tmp_path):
        members = {"tables/choices.jsonl": dump({"name": "inject", "value": False}) + b"\n"}
        take_in(home, zipped(tmp_path, sealed(members)))
        return home

    @pytest.fixture
    def theirs(self, tmp_path):
        members = {"tables/choices.jsonl": dump({"name": "inject", "value": {"on": 1}}) + b"\n"}
        return zipped(tmp_path, sealed(members))

    @pytest.mark.parametrize(
        ("rule", "value"),
        [("skip", False), ("merge", False), ("rename", False), ("replace", {"on": 1})],
    )
    def test_rule(self, here, theirs, rule, value):
        take_in(here, theirs, conflict_resolution=rule)
        stored = [json.loads(r) for r in stored_rows(here.application.database)["choices"]]
        assert stored == [{"name": "inject", "value": value}]

    def test_ask(self, here, theirs):
        before = everything(here)
        result = send(here, theirs)["results"][0]
        assert [c["key"] for c in result["conflicts"]] == ["choices:inject"]
        assert everything(here) == before
