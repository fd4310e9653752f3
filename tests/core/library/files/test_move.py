"""Files renamed and moved with all beside them; the record stays the same, and undo brings back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_manager_core.queueing.service import Jobs
from tests.core.conftest import Home


def _names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def _move(home: Home, adapter_id: str, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = home.client.post(f"/v1/adapters/{adapter_id}/file", json=body)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _finished(home: Home, job_id: str) -> Mapping[str, Any]:
    job = home.application.services.get(Jobs).wait(job_id, 30)
    assert job.status == "succeeded", job.error
    assert job.result is not None
    return job.result


def _with_neighbours(home: Home) -> dict[str, Any]:
    for name in ("alice.preview.png", "alice.civitai.info", "ALICE.txt"):
        (home.library / "characters" / name).write_bytes(b"{}")
    home.scan()
    return home.adapter("alice")


def test_all_go_together_and_the_record_stays(home: Home) -> None:
    alice = _with_neighbours(home)
    home.client.patch(f"/v1/adapters/{alice['id']}", json={"rating": 4})
    before = home.adapter("alice")

    answer = _move(home, alice["id"], name="Alice v1.5", folder="people/new")
    record = answer["adapter"]
    folder = home.library / "people" / "new"
    assert _names(folder) == [
        "Alice v1.5.civitai.info",
        "Alice v1.5.preview.png",
        "Alice v1.5.safetensors",
        "Alice v1.5.txt",
    ]
    assert (record["id"], record["name"], record["rating"]) == (alice["id"], "alice", 4)
    assert record["file_path"] == str(folder / "Alice v1.5.safetensors")
    assert record["json_file_path"] == str(folder / "Alice v1.5.civitai.info")
    assert record["prompt_name"] == "Alice v1_5"
    assert home.client.get(record["preview_url"]).content == b"{}"
    assert home.scan()["unchanged"] == 3

    undone = home.client.post(f"/v1/adapters/undo/{answer['undo_id']}")
    assert undone.status_code == 200, undone.text
    moving = ("updated_at", "last_ingested_at", "preview_url", "json_file_path")
    after = home.adapter("alice")
    assert {k: after[k] for k in after if k not in moving} == {
        k: before[k] for k in before if k not in moving
    }
    assert _names(home.library / "characters") == [
        "alice.civitai.info",
        "alice.preview.png",
        "alice.safetensors",
        "alice.txt",
    ]
    assert home.scan()["unchanged"] == 3


def test_what_cannot_be_is_refused_and_nothing_is_moved(home: Home) -> None:
    (home.library / "characters" / "taken.safetensors").write_bytes(b"x")
    before, alice = _names(home.library), home.adapter("alice")["id"]
    for body, status, code in (
        ({"name": "CON"}, 400, "invalid_request"),
        ({"name": "a/b"}, 400, "invalid_request"),
        ({"name": "a:b"}, 400, "invalid_request"),
        ({"name": ".hidden"}, 400, "invalid_request"),
        ({"name": "alice.safetensors"}, 400, "invalid_request"),
        ({"folder": "../outside"}, 400, "invalid_request"),
        ({"folder": "aux"}, 400, "invalid_request"),
        ({"folder": ".hidden"}, 400, "invalid_request"),
        ({"folder": "/somewhere/else"}, 400, "path_outside_roots"),
        ({"name": "taken"}, 409, "library_changed"),
        ({}, 400, "invalid_request"),
    ):
        assert _move(home, alice, status, **body)["code"] == code, body
        assert _names(home.library) == before, body
    assert home.client.get("/v1/adapters/undo").json()["items"] == []


class TestOrganize:
    def _organize(self, home: Home, status: int, **body: Any) -> dict[str, Any]:
        answer = home.client.post("/v1/library/organize", json=body)
        assert answer.status_code == status, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def test_the_plan_comes_first_then_the_job_and_undo_is_one_entry(self, home: Home) -> None:
        alice = _with_neighbours(home)
        ids = {record["name"]: record["id"] for record in home.adapters()}
        values = {"base_model": "SDXL 1.0", "tags": ["a/b"]}
        home.client.patch(f"/v1/adapters/{alice['id']}", json=values)
        home.client.patch(f"/v1/adapters/{ids['Zebra']}", json={"name": "alice 2"})
        (home.library / "unknown").mkdir()
        (home.library / "unknown" / "ink_v2.safetensors").write_bytes(b"in the way")
        before, records = _names(home.library), home.adapters()

        template = "{tag}/{name}"
        plan = self._organize(home, 200, template=template)["plan"]
        assert {(one["name"], Path(one["to"])) for one in plan["moves"]} == {
            ("alice", home.library / "a_b" / "alice.safetensors"),
            ("alice 2", home.library / "unknown" / "alice 2.safetensors"),
        }
        assert [one["name"] for one in plan["conflicts"]] == ["ink_v2"]
        assert _names(home.library) == before

        job_id = self._organize(home, 202, template=template, dry_run=False)["job_id"]
        report = _finished(home, job_id)
        assert (report["moved"], report["problems"], report["undo_id"]) == (2, [], job_id)
        assert _names(home.library) == [
            "a_b/alice.civitai.info",
            "a_b/alice.preview.png",
            "a_b/alice.safetensors",
            "a_b/alice.txt",
            "styles/ink.v2.safetensors",
            "unknown/alice 2.safetensors",
            "unknown/ink_v2.safetensors",
        ]
        assert {r["id"] for r in home.adapters()} >= {r["id"] for r in records}
        again = self._organize(home, 200, template=template)["plan"]
        assert (again["move_count"], again["stay_count"]) == (0, 2)

        assert home.client.post(f"/v1/adapters/undo/{job_id}").json()["restored"] == 2
        assert {name.lower() for name in _names(home.library)} == {n.lower() for n in before}
        assert {r["id"]: r["file_path"] for r in home.adapters(search="alice")} == {
            r["id"]: r["file_path"] for r in records if "alice" in r["name"]
        }

    def test_what_is_somewhere_else_by_now_stays_there(self, home: Home) -> None:
        ids = {record["name"]: record["id"] for record in home.adapters()}
        job_id = self._organize(home, 202, template="all/{name}", dry_run=False)["job_id"]
        assert _finished(home, job_id)["moved"] == 3
        _move(home, ids["alice"], folder="mine")
        problem = home.client.post(f"/v1/adapters/undo/{job_id}").json()
        assert (problem["code"], problem["conflict_count"]) == ("undo_conflict", 1)
        undone = home.client.post(f"/v1/adapters/undo/{job_id}", params={"force": True})
        assert undone.json()["restored"] == 2
        assert _names(home.library) == [
            "mine/alice.safetensors",
            "styles/Zebra.safetensors",
            "styles/ink.v2.safetensors",
        ]
