"""The host's list of LoRA files and ours stay in step, whoever hears first of a new file."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest

from tests.host.conftest import StartHost
from tests.host.running import RunningHost

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

_PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def watching(start_host: StartHost) -> RunningHost:
    host = start_host("watching")
    host.wait_for_scan()
    return host


@pytest.fixture(scope="module")
def unwatched(start_host: StartHost) -> RunningHost:
    host = start_host("unwatched", env={"LORA_MANAGER_WATCH": "false"})
    host.wait_for_scan()
    return host


def host_names(host: RunningHost) -> set[str]:
    return {entry["name"] for entry in host.client.get("/sdapi/v1/loras").json()}


def wait_for(condition: Callable[[], object]) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < _PATIENCE_S
        time.sleep(0.2)


def test_a_file_that_comes_and_goes_does_so_in_both_lists(watching: RunningHost) -> None:
    folder = watching.lora_dir
    shutil.copy(folder / "styles" / "ink_portrait.safetensors", folder / "copied.safetensors")
    wait_for(lambda: "copied.safetensors" in watching.adapters())
    wait_for(lambda: "copied" in host_names(watching))
    wait_for(lambda: watching.adapters()["copied.safetensors"]["prompt_name"] == "copied")

    (folder / "copied.safetensors").unlink()
    wait_for(lambda: watching.adapters()["copied.safetensors"]["file_state"] == "missing")
    wait_for(lambda: "copied" not in host_names(watching))


def test_what_the_host_lists_is_scanned(unwatched: RunningHost) -> None:
    folder = unwatched.lora_dir
    shutil.copy(folder / "styles" / "ink_portrait.safetensors", folder / "dropped.safetensors")
    assert unwatched.client.post("/sdapi/v1/refresh-loras").status_code == 200
    wait_for(lambda: "dropped.safetensors" in unwatched.adapters())
