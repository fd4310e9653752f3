"""Duplicates, files of one name and versions, over the API and beside what a generator made."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lora_manager_core.library.plan import base_name
from lora_manager_core.queueing.service import Jobs
from tests.core.conftest import Home
from tests.fakes.lora_files import touch_later, write_lora

GENERATOR = Path(__file__).parents[5] / "shared" / "tools" / "make_lora_library.py"


def get(home: Home, what: str, status: int = 200, **query: Any) -> dict[str, Any]:
    answer = home.client.get(f"/v1/library/{what}", params=query)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def hash_all(home: Home) -> None:
    job_id = home.client.post("/v1/library/hash").json()["job_id"]
    assert home.application.services.get(Jobs).wait(job_id, 60).status == "succeeded"


def names(group: dict[str, Any]) -> list[str]:
    return [member["lora_name"] for member in group["members"]]


class TestDuplicates:
    def test_are_equal_files_with_what_they_waste(self, home: Home) -> None:
        alice = Path(home.adapter("alice")["file_path"])
        for number in (1, 2, 3):
            shutil.copy(alice, home.library / f"copy{number}.safetensors")
        shutil.copy(home.library / "styles" / "Zebra.safetensors", home.library / "other.pt")
        home.scan()
        before = get(home, "duplicates")
        assert (before["items"], before["compared"], before["not_compared"]) == ([], 0, 7)
        hash_all(home)
        copy = home.adapter("copy2")
        home.client.patch(f"/v1/adapters/{copy['id']}", json={"rating": 5})
        found = get(home, "duplicates")
        assert (found["total"], found["compared"], found["uncertainty"]) == (2, 7, None)
        first, second = found["items"]
        assert (first["kind"], first["sha256"]) == ("equal", copy["primary_file_sha256"])
        assert first["wasted_bytes"] == 3 * alice.stat().st_size
        assert [(m["lora_name"], m["touched"]) for m in first["members"]] == [
            ("copy2", True), ("alice", False), ("copy1", False), ("copy3", False),
        ]  # fmt: skip
        assert sorted(names(second)) == ["Zebra", "other"]
        assert found["wasted_bytes"] == first["wasted_bytes"] + second["wasted_bytes"]
        page = get(home, "duplicates", per_page=1, page=2)
        assert ([names(g) for g in page["items"]], page["pages"]) == ([names(second)], 2)
        (home.library / "other.pt").unlink()
        home.scan()
        assert get(home, "duplicates")["total"] == 1

    def test_tell_of_a_move_that_people_wrote_on_both_sides_of(self, home: Home) -> None:
        hash_all(home)
        alice = home.adapter("alice")
        target = home.library / "found.safetensors"
        shutil.move(alice["file_path"], target)
        touch_later(target)
        home.scan()
        for name in ("alice", "found"):
            home.client.patch(f"/v1/adapters/{home.adapter(name)['id']}", json={"notes": name})
        hash_all(home)
        (group,) = get(home, "duplicates", kind="moved")["items"]
        assert (group["kind"], group["wasted_bytes"]) == ("moved", 0)
        assert {(m["lora_name"], m["file_state"]) for m in group["members"]} == {
            ("alice", "missing"), ("found", "present"),
        }  # fmt: skip
        assert get(home, "duplicates", kind="equal")["filtered"] == 0

    def test_of_no_such_kind_are_refused(self, home: Home) -> None:
        problem = get(home, "duplicates", status=400, by="hash", kind="lineage")
        assert "equal and moved" in problem["detail"]
        get(home, "duplicates", status=422, page=0)


class TestConflicts:
    def test_each_file_has_a_token_of_its_own_or_a_fix(self, home: Home) -> None:
        assert get(home, "conflicts")["items"] == []
        for number, folder in enumerate(("one", "two", "one/deep/two")):
            write_lora(home.library / folder / "alice.safetensors", seed=20 + number)
        home.scan()
        (group,) = get(home, "conflicts")["items"]
        assert (group["name"], len(group["members"])) == ("alice", 4)
        assert all((m["token"] is None) != (m["rename_to"] is None) for m in group["members"])
        for member in group["members"]:
            if member["rename_to"] is not None:
                assert member["problem"]
                path = Path(member["file_path"])
                path.rename(path.with_name(member["rename_to"]))
        home.scan()
        assert get(home, "conflicts")["items"] == []
        assert len({a["prompt_name"] for a in home.adapters(file_state="present")}) == 6

    def test_dots_count_as_the_host_counts_them(self, home: Home) -> None:
        write_lora(home.library / "a.b.safetensors", seed=30)
        write_lora(home.library / "a_b.safetensors", seed=31)
        home.scan()
        (group,) = get(home, "conflicts")["items"]
        told = {Path(m["file_path"]).name: (m["token"], m["rename_to"]) for m in group["members"]}
        assert told["a.b.safetensors"] == ("<lora:a.b:1.000>", None)
        assert told["a_b.safetensors"][0] is None
        assert told["a_b.safetensors"][1]


class TestVersions:
    def _civitai(self, path: Path, model: int, version: int, published: str | None) -> None:
        told = {"modelId": model, "id": version, "name": f"v{version}", "publishedAt": published}
        path.with_suffix(".civitai.info").write_text(json.dumps(told))

    def test_of_one_model_at_civitai(self, home: Home) -> None:
        for number, published in ((10, "2024-01-01T00:00:00Z"), (11, "2024-05-01T00:00:00Z")):
            path = write_lora(home.library / f"thing{number}x.safetensors", seed=number)
            self._civitai(path, 77, number, published)
        home.scan()
        (model,) = get(home, "versions")["items"]
        assert (model["evidence"], model["source_model_id"]) == ("source", "77")
        told = [(v["lora_name"], v["is_newest"]) for v in model["versions"]]
        assert told == [("thing11x", True), ("thing10x", False)]

    def test_by_name_is_said_to_be_weaker(self, home: Home) -> None:
        for name, width in (("ship_v1", 768), ("ship_v2", 768), ("ship_v3", 2048), ("boat", 768)):
            write_lora(home.library / f"{name}.safetensors", width=width, seed=len(name))
        home.scan()
        (model,) = get(home, "versions", evidence="name")["items"]
        assert [v["lora_name"] for v in model["versions"]] == ["ship_v2", "ship_v1"]
        assert (model["evidence"], model["versions"][0]["version"]) == ("name", "v2")
        assert get(home, "versions", evidence="source")["items"] == []

    def test_a_source_contradicts_a_name(self, home: Home) -> None:
        for number in (1, 2):
            path = write_lora(home.library / f"ship_v{number}.safetensors", seed=number)
            self._civitai(path, 500 + number, number, None)
        home.scan()
        assert get(home, "versions")["items"] == []


@pytest.mark.skipif(not GENERATOR.is_file(), reason="shared/ does not lie beside the checkout")
def test_finds_all_that_a_generator_put_there(
    make_home: Callable[..., Home], tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("make_lora_library", GENERATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path / "generated"
    truth = module.generate(root, 400, 1024, 7, sidecars=0.2, copies=0.05)
    for number, path in enumerate(sorted(root.rglob("*.safetensors"))[::40]):
        write_lora(root / "elsewhere" / path.name, seed=100 + number)
    home = make_home(library_roots=(root,))
    hash_all(home)

    found = get(home, "duplicates", per_page=1000)["items"]
    assert {
        g["sha256"]: {str(Path(m["file_path"]).relative_to(root)) for m in g["members"]}
        for g in found
    } == {sha256: set(paths) for sha256, paths in truth["duplicate_groups"].items()}
    assert found
    files: dict[str, set[str]] = {}
    for path in root.rglob("*.safetensors"):
        files.setdefault(base_name(str(path)), set()).add(str(path))
    shared = {name: paths for name, paths in files.items() if len(paths) > 1}
    conflicts = get(home, "conflicts", per_page=1000)["items"]
    assert {g["name"]: {m["file_path"] for m in g["members"]} for g in conflicts} == shared
    assert shared
    fixes = [m["rename_to"] for g in conflicts for m in g["members"] if m["token"] is None]
    assert None not in fixes
    assert len(set(fixes)) == len(fixes)
