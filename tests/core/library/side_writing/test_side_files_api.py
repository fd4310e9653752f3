"""Writing side files over HTTP: only when asked, only inside the roots, nobody's fields lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.queueing.service import Jobs


def write(home, *formats: str, **request: Any) -> dict[str, Any]:
    """The job's result."""
    body = {"formats": formats or ["json"], **request}
    answer = home.client.post("/v1/library/side-files", json=body)
    assert answer.status_code == 202, answer.text
    job = home.application.services.get(Jobs).wait(answer.json()["job_id"], 30)
    assert job.status == "succeeded", job.error
    return job.result or {}


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {Path(file["file"]).name: file["outcome"] for file in report["files"]}


@pytest.fixture
def folder(library: Path) -> Path:
    return library / "characters"


class TestWriting:
    def test_all_formats_of_some_adapters(self, folder, home):
        alice = home.adapter("alice")["id"]
        home.client.patch(f"/v1/adapters/{alice}", json={"notes": "mine", "tags": ["x"]})

        report = write(home, "json", "civitai.info", "metadata.json", adapter_ids=[alice])

        assert outcomes(report) == dict.fromkeys(
            ("alice.json", "alice.civitai.info", "alice.metadata.json"), "written"
        )
        assert json.loads((folder / "alice.json").read_bytes())["notes"] == "mine"
        assert home.scan()["changed"] == 0
        assert sorted(path.name for path in folder.iterdir()) == [
            "alice.civitai.info", "alice.json", "alice.metadata.json", "alice.safetensors"
        ]  # fmt: skip
        again = write(home, "json", "civitai.info", "metadata.json", overwrite="merge",
                      adapter_ids=[alice])  # fmt: skip
        assert (again["unchanged"], again["written"]) == (3, 0)

    def test_what_is_there_is_kept_or_merged_as_asked(self, folder, home):
        theirs = b"\xef\xbb\xbf" + b'{"notes": "theirs", "future": {"a": 1}, "description": "d"}'
        (folder / "Alice.JSON").write_bytes(theirs)
        home.scan()
        alice = home.adapter("alice")["id"]
        home.client.patch(f"/v1/adapters/{alice}", json={"description": "mine"})

        assert outcomes(write(home, filter={"folder": "characters"})) == {"Alice.JSON": "kept"}
        assert (folder / "Alice.JSON").read_bytes() == theirs

        report = write(home, filter={"folder": "characters"}, overwrite="merge")
        assert outcomes(report) == {"Alice.JSON": "written"}
        document = json.loads((folder / "Alice.JSON").read_bytes())
        assert (document["notes"], document["future"]) == ("theirs", {"a": 1})
        assert (document["description"], document["sd version"]) == ("mine", "SD 1.5")

    def test_a_file_that_cannot_be_read_is_left_and_the_others_are_written(self, folder, home):
        (folder / "alice.json").write_text("{broken")
        (home.library / "styles" / "Zebra.safetensors").unlink()
        report = write(home, overwrite="merge")
        assert outcomes(report) == {
            "alice.json": "failed", "ink.v2.json": "written", "Zebra.safetensors": "failed"
        }  # fmt: skip
        assert "not valid JSON" in report["files"][0]["detail"]
        assert (folder / "alice.json").read_text() == "{broken"

    def test_never_leaves_the_roots(self, folder, home, tmp_path):
        outside = tmp_path / "outside.json"
        outside.write_text("{}")
        (folder / "alice.json").symlink_to(outside)
        report = write(home, filter={"folder": "characters"}, overwrite="merge")
        assert outcomes(report) == {"alice.json": "failed"}
        assert outside.read_text() == "{}"

    def test_what_is_asked_must_make_sense(self, home):
        for body, status in (
            ({"formats": []}, 422),
            ({"formats": ["txt"]}, 422),
            ({"formats": ["json"], "adapter_ids": ["none"]}, 404),
            ({"formats": ["json"], "overwrite": "always"}, 422),
        ):
            assert home.client.post("/v1/library/side-files", json=body).status_code == status
