"""Who may call the stand-alone server, and in what shape everybody else is refused."""

from __future__ import annotations

import re

import pytest

_KEY = "a-long-enough-key"


class TestWithoutKeys:
    def test_this_machine_may_do_everything(self, home):
        assert home.client.get("/v1/adapters").status_code == 200
        assert home.client.post("/v1/compose", json={}).status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:7862", "10.0.0.1", ""])
    def test_another_host_name_is_refused(self, home, host):
        answer = home.client.get("/v1/adapters", headers={"host": host})
        assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")

    @pytest.mark.parametrize("host", ["localhost:7862", "127.0.0.1:7862", "[::1]:7862"])
    def test_the_names_of_this_machine_are_accepted(self, home, host):
        assert home.client.get("/v1/adapters", headers={"host": host}).status_code == 200

    def test_writes_from_another_site_are_refused(self, home):
        evil = {"origin": "http://evil.example"}
        assert home.client.post("/v1/compose", json={}, headers=evil).status_code == 403
        own = {"origin": "http://127.0.0.1:7862"}
        assert home.client.post("/v1/compose", json={}, headers=own).status_code == 200
        sandboxed = {"origin": "null"}
        assert home.client.post("/v1/compose", json={}, headers=sandboxed).status_code == 403


class TestWithAKey:
    @pytest.fixture
    def home(self, make_home):
        return make_home(api_key=_KEY)

    def test_every_route_asks_for_it(self, home):
        routes = home.client.get("/v1/openapi.json").json()["paths"]
        refused = {}
        for path, operations in routes.items():
            for method in operations:
                if path != "/health":
                    url = "/v1" + path.replace("{number}", "0").replace("{", "").replace("}", "")
                    refused[method, path] = home.client.request(method, url).status_code
        assert set(refused.values()) == {401}, refused
        assert len(refused) > 20

    def test_the_right_one_opens_and_a_wrong_one_does_not(self, home):
        assert home.client.get("/v1/adapters", headers={"X-API-Key": _KEY}).status_code == 200
        wrong = home.client.get("/v1/adapters", headers={"X-API-Key": _KEY + "x"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "not_authenticated")

    def test_health_and_the_api_document_are_open(self, home):
        assert home.client.get("/v1/health").json()["ready"] is True
        assert home.client.get("/v1/openapi.json").status_code == 200

    def test_a_session_opens_pictures_and_writes_of_the_own_page_only(self, home):
        opened = home.client.post("/v1/session", headers={"X-API-Key": _KEY})
        assert opened.status_code == 204
        assert "HttpOnly" in opened.headers["set-cookie"]
        assert home.client.get("/v1/adapters").status_code == 200
        assert home.client.post("/v1/compose", json={}).status_code == 403
        own = {"origin": "http://127.0.0.1:7862"}
        assert home.client.post("/v1/compose", json={}, headers=own).status_code == 200
        evil = {"origin": "http://evil.example"}
        assert home.client.post("/v1/compose", json={}, headers=evil).status_code == 403


class TestStoredKeys:
    def test_are_shown_once_and_can_be_revoked(self, home):
        from lora_manager_core.web.keys import ApiKeys

        keys = home.application.services.get(ApiKeys)
        key = keys.add("laptop")
        assert home.client.get("/v1/adapters").status_code == 401
        assert home.client.get("/v1/adapters", headers={"X-API-Key": key}).status_code == 200
        (info,) = keys.list_keys()
        assert key not in repr(info)
        keys.revoke(info.id)
        assert home.client.get("/v1/adapters").status_code == 200


class TestErrorShape:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/nothing", 404),
            ("GET", "/nothing", 404),
            ("PUT", "/v1/adapters", 405),
            ("GET", "/v1/adapters/ghost", 404),
            ("POST", "/v1/compose", 422),
        ],
    )
    def test_is_always_a_problem_document(self, home, method, path, status):
        answer = home.client.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "code"} <= set(answer.json())

    def test_of_a_defect_has_a_correlation_id_and_no_trace(self, home, caplog):
        home.application.database.close()
        with home.application.database.write() as session:
            session.connection().exec_driver_sql("DROP TABLE adapter_tags")
        answer = home.client.get("/v1/adapters/tags")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "adapter_tags" not in answer.text
        assert answer.json()["correlation_id"] in caplog.text

    @pytest.mark.parametrize("chunked", [False, True], ids=["by its length", "while it is read"])
    def test_of_a_body_that_is_too_large(self, home, chunked):
        body = b'{"prefix": "' + b"x" * (9 * 2**20) + b'"}'
        content = (body[i : i + 2**20] for i in range(0, len(body), 2**20)) if chunked else body
        answer = home.client.post(
            "/v1/compose", content=content, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


class TestApiDocument:
    def test_says_what_every_guarded_route_may_answer(self, home):
        document = home.client.get("/v1/openapi.json").json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if path in ("/health", "/ws/ticket"):
                    continue
                refusal = operation["responses"]["401"]["content"]
                assert list(refusal) == ["application/problem+json"], (method, path)
                assert operation["description"], (method, path)

    def test_is_valid_where_it_refers(self, home):
        text = home.client.get("/v1/openapi.json").text
        document = home.client.get("/v1/openapi.json").json()
        for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
            assert name in document["components"]["schemas"]
