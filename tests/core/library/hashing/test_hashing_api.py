"""Hashes over the API, and moved files that keep their record by them."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.queueing.service import Jobs
from tests.core.conftest import Home
from tests.fakes.lora_files import touch_later, write_lora


def hash_all(home: Home) -> dict[str, Any]:
    answer = home.client.post("/v1/library/hash")
    assert answer.status_code == 202, answer.text
    job = home.application.services.get(Jobs).wait(answer.json()["job_id"], 60)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job.result


def state(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = home.client.get("/v1/library").json()["hashing"]
    return found


def say(home: Home, name: str, **fields: Any) -> dict[str, Any]:
    """Have a person change a record; gives it as it was."""
    record = home.adapter(name)
    answer = home.client.patch(f"/v1/adapters/{record['id']}", json=fields)
    assert answer.status_code == 200, answer.text
    return record


def move(record: dict[str, Any], folder: Path, name: str | None = None) -> Path:
    """Move a record's file as programs do that set the time anew."""
    folder.mkdir(exist_ok=True)
    target = folder / (name or Path(record["file_path"]).name)
    shutil.move(record["file_path"], target)
    touch_later(target)
    return target


class TestHashing:
    def test_the_overview_tells_how_far_it_is(self, home: Home) -> None:
        before = state(home)
        assert (before["done"], before["pending"], before["failed"]) == (0, 3, 0)
        sizes = [Path(record["file_path"]).stat().st_size for record in home.adapters()]
        assert before["pending_bytes"] == sum(sizes)
        report = hash_all(home)
        assert report["hashed"] == 3
        after = state(home)
        assert (after["done"], after["pending"], after["pending_bytes"]) == (3, 0, 0)
        assert (after["job_id"], after["bytes_per_s"], after["problems"]) == (None, None, [])
        alice = home.adapter("alice")
        content = Path(alice["file_path"]).read_bytes()
        assert alice["primary_file_sha256"] == hashlib.sha256(content).hexdigest()
        assert alice["file_sha256_state"] == "done"
        assert (len(alice["autov2"]), len(alice["autov3"])) == (10, 12)

    def test_one_file_at_once(self, home: Home) -> None:
        alice = home.adapter("alice")
        answer = home.client.post(f"/v1/adapters/{alice['id']}/hash")
        assert answer.status_code == 200
        assert answer.json()["adapter"]["autov2"]
        assert state(home)["pending"] == 2

    def test_one_file_that_changed_is_refused(self, home: Home) -> None:
        alice = home.adapter("alice")
        touch_later(Path(alice["file_path"]))
        answer = home.client.post(f"/v1/adapters/{alice['id']}/hash")
        assert (answer.status_code, answer.json()["code"]) == (409, "library_changed")
        assert home.client.post("/v1/adapters/nobody/hash").status_code == 404

    def test_servers_hash_after_scans(self, make_home: Any) -> None:
        home = make_home(auto_hash=True)
        deadline = time.monotonic() + 20
        while state(home)["done"] < 3:
            assert time.monotonic() < deadline, state(home)
            time.sleep(0.05)


class TestMovedFiles:
    def test_keep_their_record(self, home: Home) -> None:
        hash_all(home)
        alice = say(home, "alice", notes="mine", tags=["kept"])
        target = move(alice, home.library / "moved", "other name.safetensors")
        home.scan()
        assert len(home.adapters()) == 4
        report = hash_all(home)
        assert report["reunited"] == 1
        again = home.adapter("alice")
        assert (again["id"], again["notes"], again["tags"]) == (alice["id"], "mine", ["kept"])
        assert (again["file_path"], again["file_state"]) == (str(target), "present")
        assert again["prompt_name"] == "other name"
        assert (again["file_sha256_state"], again["autov3"]) == (
            "done",
            home.adapter("alice")["autov3"],
        )
        assert len(home.adapters()) == 3
        assert home.scan()["unchanged"] == 3
        assert home.client.get("/v1/library/excluded").json() == {"excluded": []}

    def test_are_told_apart_though_they_are_equally_large(self, home: Home) -> None:
        stamp = 1_700_000_000_000_000_000
        for number in range(3):
            path = write_lora(home.library / f"twin{number}.safetensors", seed=10 + number)
            os.utime(path, ns=(stamp, stamp))
        home.scan()
        hash_all(home)
        twins = [say(home, f"twin{n}", notes=f"of twin {n}") for n in range(3)]
        for number, twin in enumerate(twins):
            target = home.library / f"renamed{(number + 1) % 3}.safetensors"
            shutil.move(twin["file_path"], target)
        assert home.scan()["moved"] == 0
        assert hash_all(home)["reunited"] == 3
        for number, twin in enumerate(twins):
            again = home.adapter(f"twin{number}")
            assert (again["id"], again["notes"]) == (twin["id"], f"of twin {number}")
            assert Path(again["file_path"]).stem == f"renamed{(number + 1) % 3}"

    def test_of_several_equal_ones_names_tell_which(self, home: Home) -> None:
        alice = home.adapter("alice")
        copy = Path(alice["file_path"]).with_name("bob.safetensors")
        shutil.copy(alice["file_path"], copy)
        home.scan()
        hash_all(home)
        bob = home.adapter("bob")
        for record in (bob, alice):
            move(record, home.library / "moved")
        home.scan()
        assert hash_all(home)["reunited"] == 2
        for record in (alice, bob):
            again = home.adapter(record["name"])
            assert again["id"] == record["id"]
            assert Path(again["file_path"]).name == Path(record["file_path"]).name

    def test_a_copy_leaves_both(self, home: Home) -> None:
        alice = say(home, "alice", notes="mine")
        hash_all(home)
        shutil.copy(alice["file_path"], home.library / "copy.safetensors")
        home.scan()
        assert hash_all(home)["reunited"] == 0
        assert home.adapter("copy")["notes"] is None
        assert home.adapter("alice")["notes"] == "mine"

    def test_a_copy_takes_over_when_the_first_is_deleted(self, home: Home) -> None:
        alice = say(home, "alice", notes="mine")
        shutil.copy(alice["file_path"], home.library / "copy.safetensors")
        home.scan()
        hash_all(home)
        Path(alice["file_path"]).unlink()
        home.scan()
        assert hash_all(home)["reunited"] == 1
        assert home.adapter("alice")["file_path"].endswith("copy.safetensors")

    def test_an_older_copy_is_not_taken_for_one_that_was_deleted(self, home: Home) -> None:
        alice = home.adapter("alice")
        shutil.copy(alice["file_path"], home.library / "copy.safetensors")
        home.scan()
        hash_all(home)
        say(home, "copy", notes="mine")
        (home.library / "copy.safetensors").unlink()
        home.scan()
        assert hash_all(home)["reunited"] == 0
        assert home.adapter("alice")["id"] == alice["id"]
        assert home.adapter("copy")["notes"] == "mine"

    @pytest.mark.parametrize("by", ["edit", "activation"])
    def test_nothing_that_people_did_is_lost(self, home: Home, by: str) -> None:
        hash_all(home)
        alice = say(home, "alice", notes="mine")
        move(alice, home.library / "moved", "found.safetensors")
        home.scan()
        if by == "edit":
            say(home, "found", notes="mine, too")
        else:
            home.client.post(f"/v1/adapters/{home.adapter('found')['id']}/activate")
        assert hash_all(home)["reunited"] == 0
        assert home.adapter("alice")["file_state"] == "missing"
        assert home.adapter("found")["file_state"] == "present"

    def test_one_that_is_hashed_at_once_is_known_again(self, home: Home) -> None:
        hash_all(home)
        alice = say(home, "alice", notes="mine")
        move(alice, home.library / "moved", "found.safetensors")
        home.scan()
        answer = home.client.post(f"/v1/adapters/{home.adapter('found')['id']}/hash")
        assert (answer.json()["adapter"]["id"], len(home.adapters())) == (alice["id"], 3)
