"""Who may call inside SD.Next: the rules, on a small app of their own."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.web.access import require_access
from lora_manager_core.web.caller import Caller
from lora_manager_core.web.errors import add_error_handlers
from lora_manager_core.web.keys import ApiKeys
from lora_manager_ext.access import HostAccess

USERS = {"ada": "lovelace", "ümit": "pa:ss", "empty": ""}
TOKENS = {"token-of-ada": "ada"}
KEY = "lm_only-for-tests"
HERE = {"Origin": "http://testserver"}
ELSEWHERE = {"Origin": "http://evil.example"}

MakeClient = Callable[..., TestClient]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[MakeClient]:
    database = Database(f"sqlite:///{(tmp_path / 'keys.sqlite3').as_posix()}")
    database.upgrade()

    def _client(users: Mapping[str, str] = USERS, needs_login: bool = True) -> TestClient:
        app = FastAPI(dependencies=[Depends(require_access)])
        app.state.access = HostAccess(
            ApiKeys(database, KEY), lambda: needs_login, lambda: users, lambda: TOKENS
        )
        add_error_handlers(app)
        app.get("/read")(lambda: "read")
        app.get("/who")(_who)
        app.post("/write")(lambda: "written")
        return TestClient(app)

    yield _client
    database.close()


def _who(caller: Caller) -> str:
    return caller


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class TestWithoutLogIns:
    def test_everyone(self, client: MakeClient) -> None:
        caller = client({}, needs_login=False)
        assert caller.get("/read").status_code == 200
        assert caller.post("/write").status_code == 200
        assert caller.post("/write", headers=HERE).status_code == 200

    def test_not_from_another_site(self, client: MakeClient) -> None:
        caller = client({}, needs_login=False)
        assert caller.post("/write", headers=ELSEWHERE).status_code == 403
        assert caller.post("/write", headers={"Origin": "null"}).status_code == 403


class TestWithLogIns:
    def test_nobody_unknown(self, client: MakeClient) -> None:
        assert client().get("/read").status_code == 401
        assert client().post("/write", headers=HERE).status_code == 401

    def test_before_the_host_has_read_its_users(self, client: MakeClient) -> None:
        assert client({}).get("/read").status_code == 401
        assert client({}).get("/read", headers=basic("", "")).status_code == 401

    @pytest.mark.parametrize(
        ("user", "password", "status"),
        [
            ("ada", "lovelace", 200),
            ("ümit", "pa:ss", 200),
            ("ada", "token-of-ada", 200),
            ("ada", "wrong", 401),
            ("ada", "", 401),
            ("nobody", "lovelace", 401),
            ("nobody", "", 401),
            ("nobody", "token-of-ada", 401),
            ("ümit", "token-of-ada", 401),
        ],
    )
    def test_user_and_password(
        self, client: MakeClient, user: str, password: str, status: int
    ) -> None:
        assert client().get("/read", headers=basic(user, password)).status_code == status

    @pytest.mark.parametrize(
        "header", ["Basic", "Basic !!!", "Basic YWRh", "Bearer token-of-ada", "", "Basic /w=="]
    )
    def test_header_that_is_none(self, client: MakeClient, header: str) -> None:
        assert client().get("/read", headers={"Authorization": header}).status_code == 401

    def test_password_sent_from_another_site(self, client: MakeClient) -> None:
        """A browser adds a password it knows to whatever a page sends."""
        headers = basic("ada", "lovelace")
        assert client().post("/write", headers={**headers, **ELSEWHERE}).status_code == 403
        assert client().post("/write", headers=headers).status_code == 200

    @pytest.mark.parametrize("name", ["access-token", "access-token-unsecure"])
    def test_cookie(self, client: MakeClient, name: str) -> None:
        cookie = {"Cookie": f"{name}=token-of-ada"}
        assert client().get("/read", headers=cookie).status_code == 200
        assert client().post("/write", headers=cookie).status_code == 403
        assert client().post("/write", headers={**cookie, **ELSEWHERE}).status_code == 403
        assert client().post("/write", headers={**cookie, **HERE}).status_code == 200

    def test_invented_cookie(self, client: MakeClient) -> None:
        for value in ("", "x"):
            cookie = {"Cookie": f"access-token={value}"}
            assert client().get("/read", headers=cookie).status_code == 401

    def test_key(self, client: MakeClient) -> None:
        assert client().get("/read", headers={"X-API-Key": KEY}).status_code == 200
        assert client().get("/read", headers={"X-API-Key": "lm_other"}).status_code == 401


class TestWhoCalls:
    @pytest.mark.parametrize("password", ["lovelace", "token-of-ada"])
    def test_user_of_a_password(self, client: MakeClient, password: str) -> None:
        assert client().get("/who", headers=basic("ada", password)).json() == "ada"

    def test_user_of_a_cookie(self, client: MakeClient) -> None:
        cookie = {"Cookie": "access-token-unsecure=token-of-ada"}
        assert client().get("/who", headers=cookie).json() == "ada"

    def test_key_is_of_no_user_whatever_else_is_sent(self, client: MakeClient) -> None:
        headers = {"X-API-Key": KEY, **basic("ada", "lovelace")}
        assert client().get("/who", headers=headers).json() == ""

    def test_nobody_where_there_are_no_log_ins(self, client: MakeClient) -> None:
        caller = client(needs_login=False)
        assert caller.get("/who", headers=basic("ada", "lovelace")).json() == ""
