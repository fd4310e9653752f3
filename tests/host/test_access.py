"""Who may call our routes inside SD.Next, and what it gives away of our files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.host.conftest import API_KEY
from tests.host.running import RunningHost

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

#: Paths that say themselves who may call: everyone.
OPEN = {"/health"}


@pytest.fixture
def stranger(guarded: RunningHost) -> Iterator[httpx.Client]:
    """A caller that nobody knows."""
    with httpx.Client(base_url=guarded.url) as client:
        yield client


@pytest.fixture
def visitor(guarded: RunningHost) -> Iterator[httpx.Client]:
    """A browser that has logged in on the page: Gradio's cookie, nothing else."""
    with httpx.Client(base_url=guarded.url) as client:
        answer = client.post("/login", data={"username": "bob", "password": "pa:ss"})
        assert answer.status_code == 200, answer.text
        # the two cookies are for https and for http; httpx, like a browser, sends the second one
        assert any(name.startswith("access-token") for name in client.cookies)
        yield client


def socket(host: RunningHost, **headers: str) -> ClientConnection:
    url = host.url.replace("http", "ws", 1) + "/v1/ws/progress"
    return connect(url, additional_headers=headers, open_timeout=20)


class TestWithLogIns:
    def test_no_route_answers_a_stranger(self, stranger: httpx.Client) -> None:
        paths: dict[str, Any] = stranger.get("/v1/openapi.json").json()["paths"]
        assert len(paths) > 20
        answered = []
        for prefix in ("/v1", "/api/v1"):
            for path, operations in paths.items():
                if path in OPEN:
                    continue
                url = prefix + re.sub(r"\{[^}]+\}", "1", path)
                for method in operations:
                    answer = stranger.request(method, url, json={} if method != "get" else None)
                    if answer.status_code != 401:
                        answered.append((method, url, answer.status_code))
        assert not answered

    def test_what_a_stranger_is_told(self, stranger: httpx.Client) -> None:
        answer = stranger.get("/v1/adapters")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "not_authenticated"

    def test_no_socket_for_a_stranger(self, guarded: RunningHost) -> None:
        with pytest.raises(InvalidStatus) as refused:
            socket(guarded)
        assert refused.value.response.status_code == 403

    def test_user_and_password(self, guarded: RunningHost, stranger: httpx.Client) -> None:
        assert stranger.get("/v1/adapters", auth=("ada", "lovelace")).status_code == 200
        assert stranger.get("/v1/adapters", auth=("bob", "pa:ss")).status_code == 200

    @pytest.mark.parametrize(
        ("user", "password"),
        [("ada", "wrong"), ("ada", ""), ("nobody", "lovelace"), ("", ""), ("bob", "lovelace")],
    )
    def test_wrong_password(self, stranger: httpx.Client, user: str, password: str) -> None:
        assert stranger.get("/v1/adapters", auth=(user, password)).status_code == 401

    def test_token_as_password(self, visitor: httpx.Client, stranger: httpx.Client) -> None:
        """What the page's own `authFetch` sends over https."""
        token = next(value for name, value in visitor.cookies.items() if "access-token" in name)
        assert stranger.get("/v1/adapters", auth=("bob", token)).status_code == 200
        assert stranger.get("/v1/adapters", auth=("ada", token)).status_code == 401

    def test_cookie(self, guarded: RunningHost, visitor: httpx.Client) -> None:
        assert visitor.get("/v1/adapters").status_code == 200
        body = {"enabled": True}
        assert visitor.put("/v1/injection", json=body).status_code == 403
        for origin, status in {guarded.url: 200, "http://evil.example": 403}.items():
            headers = {"Origin": origin}
            assert visitor.put("/v1/injection", json=body, headers=headers).status_code == status

    def test_invented_cookie(self, stranger: httpx.Client) -> None:
        for name in ("access-token", "access-token-unsecure", "lora_manager_session"):
            for value in ("", "x", "None"):
                answer = stranger.get("/v1/adapters", headers={"Cookie": f"{name}={value}"})
                assert answer.status_code == 401, (name, value)

    def test_key_of_ours(self, stranger: httpx.Client) -> None:
        assert stranger.get("/v1/adapters", headers={"X-API-Key": API_KEY}).status_code == 200
        assert stranger.get("/v1/adapters", headers={"X-API-Key": "other"}).status_code == 401

    def test_socket(self, guarded: RunningHost, visitor: httpx.Client) -> None:
        cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        with socket(guarded, Cookie=cookie, Origin=guarded.url) as connection:
            assert '"connected"' in str(connection.recv(10))
        with pytest.raises(InvalidStatus):
            socket(guarded, Cookie=cookie, Origin="http://evil.example")

    def test_socket_by_ticket(self, guarded: RunningHost) -> None:
        ticket = guarded.client.post("/v1/ws/ticket").json()["ticket"]
        url = guarded.url.replace("http", "ws", 1) + f"/api/v1/ws/progress?ticket={ticket}"
        with connect(url, open_timeout=20) as connection:
            assert '"connected"' in str(connection.recv(10))
        with pytest.raises(InvalidStatus):
            connect(url, open_timeout=20)


class TestWithoutLogIns:
    def test_everyone_may_call(self, standard: RunningHost) -> None:
        assert httpx.get(f"{standard.url}/v1/adapters").status_code == 200

    def test_other_sites_may_not_write(self, standard: RunningHost) -> None:
        answer = httpx.put(
            f"{standard.url}/v1/injection",
            json={"enabled": False},
            headers={"Origin": "http://evil.example"},
        )
        assert answer.status_code == 403

    def test_other_sites_get_no_socket(self, standard: RunningHost) -> None:
        with pytest.raises(InvalidStatus):
            socket(standard, Origin="http://evil.example")


class TestOurFiles:
    def test_the_database_cannot_be_downloaded(self, standard: RunningHost) -> None:
        files = [file for file in standard.user_data.rglob("*") if file.is_file()]
        assert any(file.name.endswith(".sqlite3") for file in files)
        for file in files:
            for route in ("/file={}", "/js?file={}", "/sdapi/v1/file?file={}"):
                answer = httpx.get(standard.url + route.format(file))
                assert answer.status_code in (400, 403, 404), (route, file)

    def test_nothing_of_ours_lies_where_the_host_serves(self, standard: RunningHost) -> None:
        assert not list(standard.folder.rglob("*.sqlite3"))
        assert not list((standard.folder / "models").rglob("lora-manager*"))
