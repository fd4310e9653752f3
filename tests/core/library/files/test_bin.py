"""Deletions with files: into the bin, back from it, and what stands in the way."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.core.conftest import Home
from tests.fakes.lora_files import write_lora

#: Named after the model, in any case, in any manner of the programs that write such files.
_BESIDE = ("alice.png", "alice.preview.jpg", "alice.civitai.info", "ALICE.txt")


def _tree(home: Home) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(home.library).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in home.library.rglob("*")
        if path.is_file()
    }


def _write_beside(home: Home) -> None:
    for name in _BESIDE:
        (home.library / "characters" / name).write_bytes(name.encode())
    home.scan()


def _delete(home: Home, adapter_id: str, status: int = 204) -> Any:
    answer = home.client.delete(f"/v1/adapters/{adapter_id}", params={"files": True})
    assert answer.status_code == status, answer.text
    return answer.headers["X-Undo-Id"] if status == 204 else answer.json()


def _bin(home: Home) -> dict[str, Any]:
    contents: dict[str, Any] = home.client.get("/v1/library/bin").json()
    return contents


def test_files_go_and_come_back_with_all_beside_them(home: Home) -> None:
    _write_beside(home)
    before, records = _tree(home), home.adapters()
    undo_id = _delete(home, home.adapter("alice")["id"])

    assert sorted(_tree(home)) == ["styles/Zebra.safetensors", "styles/ink.v2.safetensors"]
    contents = _bin(home)
    gone = [content for name, (content, _) in before.items() if name.startswith("characters/")]
    assert (contents["files"], contents["size_bytes"]) == (len(gone), sum(map(len, gone)))
    assert [entry["undo_id"] for entry in contents["entries"]] == [undo_id]
    assert home.client.get("/v1/library/excluded").json()["excluded"] == []

    assert home.client.post(f"/v1/adapters/undo/{undo_id}").status_code == 200
    assert _tree(home) == before
    assert home.adapters() == records
    assert _bin(home) == {"files": 0, "size_bytes": 0, "entries": []}
    assert home.scan()["unchanged"] == 3


def test_by_default_files_are_never_touched(home: Home) -> None:
    _write_beside(home)
    before = _tree(home)
    ids = [record["id"] for record in home.adapters()]
    body = {"action": "delete", "lora_ids": ids}
    assert home.client.post("/v1/adapters/bulk", json=body).status_code == 200
    assert _tree(home) == before


def test_many_go_in_one_entry(home: Home) -> None:
    before = _tree(home)
    ids = [record["id"] for record in home.adapters()]
    body = {"action": "delete", "lora_ids": ids, "files": True}
    undo_id = home.client.post("/v1/adapters/bulk", json=body).json()["undo_id"]
    assert _tree(home) == {}
    assert home.client.post(f"/v1/adapters/undo/{undo_id}").status_code == 200
    assert _tree(home) == before
    assert len(home.adapters()) == 3


def test_nothing_is_overwritten_when_they_come_back(home: Home) -> None:
    alice, before = home.adapter("alice"), _tree(home)
    undo_id = _delete(home, alice["id"])
    Path(alice["file_path"]).write_bytes(b"another file")
    answer = home.client.post(f"/v1/adapters/undo/{undo_id}", params={"force": True})
    assert answer.status_code == 409
    assert answer.json()["paths"] == [alice["file_path"]]
    assert Path(alice["file_path"]).read_bytes() == b"another file"
    Path(alice["file_path"]).unlink()
    assert home.client.post(f"/v1/adapters/undo/{undo_id}").status_code == 200
    assert _tree(home) == before


def test_an_emptied_bin_cannot_be_undone(home: Home, tmp_path: Path) -> None:
    undo_id = _delete(home, home.adapter("alice")["id"])
    emptied = home.client.delete("/v1/library/bin").json()
    assert emptied["files"] == 1
    assert not list((tmp_path / "data" / "bin").iterdir())
    (entry,) = home.client.get("/v1/adapters/undo").json()["items"]
    assert (entry["possible"], entry["undo_id"]) == (False, undo_id)
    assert home.client.post(f"/v1/adapters/undo/{undo_id}").status_code == 409


def test_a_file_that_other_records_need_stays(home: Home) -> None:
    alice = home.adapter("alice")
    body = {"name": "again", "file_path": alice["file_path"]}
    home.client.patch(f"/v1/adapters/{alice['id']}", json={"rating": 3})
    assert home.client.post("/v1/adapters", json=body).status_code == 201
    _delete(home, alice["id"])
    assert Path(alice["file_path"]).exists()


def test_what_two_models_share_stays_with_the_other(home: Home) -> None:
    folder = home.library / "characters"
    shutil.copyfile(folder / "alice.safetensors", folder / "alice.pt")
    (folder / "alice.txt").write_text("shared")
    home.scan()
    (record,) = [r for r in home.adapters() if r["file_path"].endswith("alice.safetensors")]
    _delete(home, record["id"])
    assert sorted(path.name for path in folder.iterdir()) == ["alice.pt", "alice.txt"]


def test_folders_behind_links_are_left_alone(
    make_home: Callable[..., Home], library: Path, tmp_path: Path
) -> None:
    write_lora(tmp_path / "elsewhere" / "far.safetensors", seed=9)
    (library / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    home = make_home()
    problem = _delete(home, home.adapter("far")["id"], 400)
    assert problem["code"] == "path_outside_roots"
    assert (tmp_path / "elsewhere" / "far.safetensors").exists()
    assert len(home.adapters()) == 4


def test_what_nobody_knows_of_is_removed_at_the_next_start(home: Home, tmp_path: Path) -> None:
    undo_id = _delete(home, home.adapter("alice")["id"])
    stray = tmp_path / "data" / "bin" / "stray"
    stray.mkdir()
    home.application.start()
    assert [path.name for path in (tmp_path / "data" / "bin").iterdir()] == [undo_id]
