"""Our API on the host's own server: where it answers, and what it leaves alone."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.host.conftest import StartHost
from tests.host.running import RunningHost

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

SIZE = {"width": 128, "height": 128, "cfg_scale": 6, "sampler_name": "Default", "seed": 42}


@pytest.mark.parametrize("prefix", ["/v1", "/api/v1"])
@pytest.mark.parametrize(
    "path", ["/health", "/adapters", "/library", "/injection", "/generation/backends"]
)
def test_both_prefixes(standard: RunningHost, prefix: str, path: str) -> None:
    answer = standard.client.get(prefix + path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/some"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/nothing"),
        ("POST", "/api/predict"),
        ("GET", "/api/v1/nothing"),
        ("GET", "/health"),
    ],
)
def test_paths_that_are_not_ours(
    standard: RunningHost, bare: RunningHost, method: str, path: str
) -> None:
    body = {"json": {}} if method == "POST" else {}
    ours = standard.client.request(method, path, **body)
    theirs = bare.client.request(method, path, **body)
    assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)


def test_backend_knows_the_model(standard: RunningHost) -> None:
    (backend,) = standard.client.get("/v1/generation/backends").json()["backends"]
    assert backend["name"] == "sdnext"
    assert backend["available"]
    assert backend["model"] == "Diffusers/tiny-sd"
    assert backend["base_model"] == "SD 1.5"


class TestJobs:
    def test_progress_on_the_socket(self, standard: RunningHost) -> None:
        url = standard.url.replace("http", "ws", 1) + "/v1/ws/progress"
        with connect(url, open_timeout=20) as socket:
            assert json.loads(socket.recv(10))["type"] == "connected"
            socket.send(json.dumps({"type": "subscribe"}))
            body = {"prompt": "a cat", **SIZE, "steps": 150}
            order = standard.client.post(
                "/v1/generation/generate", params={"mode": "deferred"}, json=body
            ).json()
            fractions = []
            while True:
                event = json.loads(socket.recv(60))
                data: dict[str, Any] = event["data"]
                if data.get("job_id") != order["job_id"]:
                    continue
                if data.get("progress") is not None:
                    fractions.append(data["progress"])
                if data.get("status") in ("completed", "failed", "cancelled"):
                    assert data["status"] == "completed", event
                    break
        assert fractions == sorted(fractions)
        assert any(0 < fraction < 1 for fraction in fractions)

    def test_cancelling_a_running_job(self, standard: RunningHost) -> None:
        body = {"prompt": "a cat", **SIZE, "steps": 1000, "width": 256, "height": 256}
        job_id = standard.client.post(
            "/v1/generation/generate", params={"mode": "deferred"}, json=body
        ).json()["job_id"]
        _until(standard, job_id, lambda said: (said["current_step"] or 0) > 2)
        assert standard.client.post(f"/v1/generation/jobs/{job_id}/cancel").status_code == 200
        said = _until(standard, job_id, lambda said: said["status"] not in ("processing",))
        assert said["status"] == "cancelled"
        # the next picture is a whole one: the queue is free and nothing is left interrupted
        picture = standard.txt2img("a cat")
        assert picture.distance(standard.txt2img("a cat")) == 0

    def test_cancelling_a_waiting_job(self, standard: RunningHost) -> None:
        """It waits for a picture of the host's own API, and must not be made after it."""
        long_order = {"prompt": "a dog", **SIZE, "steps": 400}
        other = threading.Thread(
            target=lambda: standard.client.post("/sdapi/v1/txt2img", json=long_order)
        )
        other.start()
        time.sleep(1)
        body = {"prompt": "a cat", **SIZE, "steps": 5}
        job_id = standard.client.post(
            "/v1/generation/generate", params={"mode": "deferred"}, json=body
        ).json()["job_id"]
        standard.client.post(f"/v1/generation/jobs/{job_id}/cancel")
        other.join()
        said = _until(standard, job_id, lambda said: said["status"] not in ("processing",))
        assert said["status"] == "cancelled"

    def test_interrupted_at_the_host(self, standard: RunningHost) -> None:
        """An unfinished picture is never given as a finished one."""
        body = {"prompt": "a cat", **SIZE, "steps": 1000, "width": 256, "height": 256}
        job_id = standard.client.post(
            "/v1/generation/generate", params={"mode": "deferred"}, json=body
        ).json()["job_id"]
        _until(standard, job_id, lambda said: (said["current_step"] or 0) > 2)
        standard.client.post("/sdapi/v1/interrupt")
        said = _until(standard, job_id, lambda said: said["status"] not in ("processing",))
        assert said["status"] == "failed"
        assert "interrupted" in said["error_message"]


def test_new_file_is_known_without_a_restart(standard: RunningHost) -> None:
    source = standard.lora_dir / "styles" / "ink_portrait.safetensors"
    (standard.lora_dir / "brought_later.safetensors").write_bytes(source.read_bytes())
    try:
        standard.client.post("/v1/library/scan")
        standard.wait_for_scan()
        while "brought_later.safetensors" not in standard.adapters():
            time.sleep(0.2)
        standard.activate_only(brought_later=0.8)
        injected = standard.txt2img("a cat")
        standard.activate_only()
        assert injected.distance(standard.txt2img("a cat <lora:ink_portrait:0.8>")) < 0.01
    finally:
        standard.activate_only()
        (standard.lora_dir / "brought_later.safetensors").unlink()


def test_under_a_subpath(start_host: StartHost) -> None:
    host = start_host("subpath", flags=("--subpath", "/sd"))
    with httpx.Client(base_url=host.url, timeout=30) as client:
        for prefix in ("/sd/v1", "/sd/api/v1"):
            assert client.get(f"{prefix}/adapters").status_code == 200
        page = client.get("/sd/")
        while page.status_code == 404:  # the host mounts its page there last of all
            time.sleep(0.5)
            page = client.get("/sd/")
    assert re.search(r"data-api=\W*/sd/v1", page.text)


def _until(host: RunningHost, job_id: str, holds: Any) -> dict[str, Any]:
    started = time.monotonic()
    while True:
        said: dict[str, Any] = host.client.get(f"/v1/generation/progress/{job_id}").json()
        if holds(said):
            return said
        assert time.monotonic() - started < 120, said
        time.sleep(0.05)
