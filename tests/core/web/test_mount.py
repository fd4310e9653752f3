"""The API as a guest in somebody else's app: it takes its own paths and no other."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lora_manager_core.api_v1 import build_api
from lora_manager_core.web.access import StandAloneAccess
from lora_manager_core.web.keys import ApiKeys
from lora_manager_core.web.mount import PoliteMount, mount_politely


@pytest.fixture
def host() -> FastAPI:
    """An app with routes where SD.Next has them."""
    app = FastAPI()

    @app.get("/v1/models")
    def _models() -> str:
        return "the host's models"

    @app.post("/api/{name}")
    def _gradio(name: str) -> str:
        return f"gradio {name}"

    @app.get("/{path:path}")
    def _page(path: str) -> str:
        return f"the host's page {path}"

    return app


@pytest.fixture
def client(host, home):
    services = home.application.services
    api = build_api(services, StandAloneAccess(services.get(ApiKeys)))
    mount_politely(host, api)
    mount_politely(host, api)  # the host may start its app twice
    return TestClient(host, base_url="http://127.0.0.1")


def test_our_paths_are_ours_under_both_prefixes(client):
    for prefix in ("/v1", "/api/v1"):
        assert client.get(f"{prefix}/adapters").json()["total"] == 3
        assert client.get(f"{prefix}/openapi.json").json()["paths"]


def test_paths_that_are_not_ours_fall_through(client):
    assert client.get("/v1/models").json() == "the host's models"
    assert client.post("/api/predict").json() == "gradio predict"
    assert client.get("/v1/completions").json() == "the host's page v1/completions"
    assert client.get("/").json() == "the host's page "


def test_a_wrong_method_on_our_path_is_answered_by_us(client):
    answer = client.delete("/v1/compose")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_the_socket_works_there_too(client):
    with client.websocket_connect("ws://127.0.0.1/api/v1/ws/progress") as socket:
        assert socket.receive_json()["type"] == "connected"


def test_mounting_again_leaves_one_of_each(client, host):
    mounts = [route for route in host.router.routes if isinstance(route, PoliteMount)]
    assert [mount.path for mount in mounts] == ["/v1", "/api/v1"]
