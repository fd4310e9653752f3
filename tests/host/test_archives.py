"""Archives inside the host: what is imported works in the next prompt, and only that is listed."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.lora_files import write_lora
from tests.host.conftest import StartHost
from tests.host.running import RunningHost

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

#: Two pictures that differ less than this are the same one.
SAME = 0.01
#: What a LoRA at 0.8 changes at least.
SEEN = 3.0
FILE = "styles/amber_watercolor.safetensors"
#: Files of about 20 MB each, so that staging them takes a while.
MANY, WIDTH = 12, 2_500_000


@pytest.fixture(scope="module")
def host(start_host: StartHost) -> RunningHost:
    """A host of these tests' own: they take LoRAs away from it."""
    host = start_host("archives")
    host.wait_for_scan()
    return host


@pytest.fixture
def nothing_active(host: RunningHost) -> Iterator[None]:
    host.activate_only()
    yield
    host.activate_only()


def post(host: RunningHost, path: str, body: Any) -> Any:
    answer = host.client.post(f"/v1/import-export/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def import_archive(host: RunningHost, archive: bytes, **config: Any) -> dict[str, Any]:
    """Send an archive; gives what became of it."""
    answer = host.client.post(
        "/v1/import-export/import",
        files=[("files", ("archive.zip", archive, "application/zip"))],
        data={"config": json.dumps(config)},
    )
    assert answer.status_code == (202 if config.get("background") else 200), answer.text
    (result,) = answer.json()["results"]
    return dict(result)


def listed(host: RunningHost) -> dict[str, str]:
    """Name and path of the LoRAs as the host lists them, after it has looked anew."""
    assert host.client.post("/sdapi/v1/refresh-loras").status_code == 200
    answer = host.client.get("/sdapi/v1/loras")
    assert answer.status_code == 200, answer.text
    return {lora["name"]: lora["path"] for lora in answer.json()}


def wait_until_it_resolves(host: RunningHost, file: str) -> dict[str, Any]:
    """The record once the scan behind an import has asked the host for its name."""
    give_up_at = time.monotonic() + 60
    while not (record := host.adapters().get(file, {})).get("prompt_name"):
        assert time.monotonic() < give_up_at, record
        time.sleep(0.1)
    return record


def lose(host: RunningHost, file: str) -> None:
    """Take a LoRA out of the library and off the disk, with all that lies beside it."""
    record = host.adapters()[file]
    assert host.client.delete(f"/v1/adapters/{record['id']}").status_code == 204
    path = host.lora_dir / file
    for beside in path.parent.glob(f"{path.stem}.*"):
        beside.unlink()


@pytest.mark.usefixtures("nothing_active")
def test_an_exported_lora_comes_back_under_its_own_name(host: RunningHost) -> None:
    off = {"LoRA Manager": {"args": [False]}}
    plain = host.txt2img("a cat", alwayson_scripts=off)
    by_hand = host.txt2img("a cat <lora:amber_watercolor:0.8>", alwayson_scripts=off)
    assert by_hand.distance(plain) > SEEN
    before = host.change(FILE, name="Amber of a friend", notes="keep me", tags=["warm"], rating=5)
    answer = host.client.post(
        "/v1/import-export/export", json={"adapter_ids": [before["id"]], "lora_files": True}
    )
    assert answer.status_code == 200, answer.text
    lose(host, FILE)
    assert "amber_watercolor" not in listed(host)

    result = import_archive(host, answer.content)

    assert (result["status"], result["created"]) == ("imported", 1), result
    after = wait_until_it_resolves(host, FILE)
    used = host.txt2img("a cat <lora:Amber of a friend:0.8>")  # before the host looks anew
    assert used.distance(by_hand) < SAME
    assert listed(host)["amber_watercolor"] == str(host.lora_dir / FILE)
    for field in ("id", "name", "notes", "tags", "rating", "created_at"):
        assert after[field] == before[field], field


def test_staged_files_are_never_listed(host: RunningHost, tmp_path: Path) -> None:
    before = set(listed(host))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(MANY):
            file = write_lora(tmp_path / f"brought_{number}.safetensors", width=WIDTH, seed=number)
            packed.write(file, f"brought/{file.name}")
            file.unlink()
    expected = before | {f"brought_{number}" for number in range(MANY)}

    result = import_archive(host, archive.getvalue(), background=True, backup_before=False)
    looks, staged = 0, False
    give_up_at = time.monotonic() + 120
    while True:
        staged = staged or any(host.lora_dir.glob(".lora-manager-staging/*/*.part"))
        names = listed(host)
        assert set(names) <= expected
        assert not [path for path in names.values() if "staging" in path]
        looks += 1
        job = host.client.get(f"/v1/import-export/jobs/{result['job_id']}").json()
        if job["status"] not in ("pending", "running"):
            break
        assert time.monotonic() < give_up_at, job

    assert job["status"] == "succeeded", job
    assert staged, "it was over before anything could be seen of it"
    assert looks > 1
    assert set(listed(host)) == expected
    assert not (host.lora_dir / ".lora-manager-staging").exists()


@pytest.mark.usefixtures("nothing_active")
def test_a_restore_while_it_runs_brings_back_files_and_what_people_wrote(
    host: RunningHost,
) -> None:
    ink = "styles/ink_portrait.safetensors"
    host.change(ink, notes="before", favorite=True)
    there = host.txt2img("a cat <lora:ink_portrait:0.8>")
    records = host.adapters()
    backup_id = post(host, "backup/create", {"backup_type": "full"})["backup_id"]
    content = (host.lora_dir / ink).read_bytes()
    host.change(ink, notes="after", favorite=False)
    (host.lora_dir / ink).unlink()
    assert "ink_portrait" not in listed(host)

    answer = post(host, f"backups/{backup_id}/restore", {})

    assert answer["success"], answer
    restored = wait_until_it_resolves(host, ink)
    assert (host.lora_dir / ink).read_bytes() == content
    assert (restored["notes"], restored["favorite"]) == ("before", True)
    assert host.txt2img("a cat <lora:ink_portrait:0.8>").distance(there) < SAME
    assert {file: record["id"] for file, record in host.adapters().items()} == {
        file: record["id"] for file, record in records.items()
    }
    assert not (host.lora_dir / ".lora-manager-staging").exists()
