"""Deliveries over HTTP: where they may go, what is sent, and what every kind of answer means."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from lora_manager_core.deliveries.http_mode import resolve_host
from lora_manager_core.errors import TargetNotAllowed, TargetUnavailable, Unprocessable
from tests.fakes.http_target import FakeTarget


def _outcomes(record):
    return [attempt.outcome for attempt in record.attempts]


@pytest.fixture
def closed_port():
    """A port of this machine where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


class TestDelivering:
    def test_posts_the_prompt_as_json(self, desk, target):
        where = {"host": "127.0.0.1", "port": target.port, "path": "/a?b=c"}
        sent = desk.send("http", "a fox «in» snow", **where)
        done = desk.end_of(sent)

        assert (done.status, done.error, _outcomes(done)) == ("succeeded", None, ["succeeded"])
        assert done.result == {
            "status": "delivered",
            "status_code": 200,
            "body": "thank you",
            "body_cut": False,
        }
        assert target.bodies == [{"prompt": "a fox «in» snow"}]
        path, headers, _body = target.requests[0]
        assert path == "/a?b=c"
        assert headers["host"] == f"127.0.0.1:{target.port}"
        assert headers["content-type"] == "application/json"
        assert headers["idempotency-key"] == f'"{sent}"'

    def test_connects_to_the_address_that_was_checked(self, make_desk, target):
        """A name server that answers otherwise the second time changes nothing."""
        answers = [["127.0.0.1"], ["127.0.0.2"]]
        asked = []

        def _resolve(host, port):
            asked.append((host, port))
            return answers[len(asked) - 1]

        desk = make_desk(("rebound.test",), _resolve)
        done = desk.end_of(desk.send("http", host="Rebound.test", port=target.port))

        assert done.status == "succeeded"
        assert asked == [("rebound.test", target.port)]
        assert target.requests[0][1]["host"] == f"rebound.test:{target.port}"

    def test_tries_every_address_of_a_host(self, make_desk, target):
        desk = make_desk(("two.test",), lambda _host, _port: ["127.0.0.9", "127.0.0.1"])
        done = desk.end_of(desk.send("http", host="two.test", port=target.port))
        assert (done.status, len(done.attempts)) == ("succeeded", 1)

    def test_needs_no_proxy_of_the_environment(self, desk, target, closed_port, monkeypatch):
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
        assert desk.end_of(desk.send("http", host="127.0.0.1", port=target.port)).status == (
            "succeeded"
        )

    def test_keeps_the_beginning_of_a_long_answer(self, desk, target):
        target.answers = [(202, {}, b"x" * 50_000)]
        result = desk.end_of(desk.send("http", host="127.0.0.1", port=target.port)).result
        assert (result["status_code"], len(result["body"]), result["body_cut"]) == (
            202,
            10_000,
            True,
        )

    def test_of_an_empty_answer_has_no_body(self, desk, target):
        target.answers = [(204, {}, b"")]
        result = desk.end_of(desk.send("http", host="127.0.0.1", port=target.port)).result
        assert (result["status_code"], result["body"]) == (204, None)

    def test_leaves_packed_and_broken_text_as_far_as_it_can_be_read(self, desk, target):
        target.answers = [(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\0 \xff ok")]
        result = desk.end_of(desk.send("http", host="127.0.0.1", port=target.port)).result
        assert result["body"] == "\x1f�\0 � ok"
        assert target.requests[0][1]["accept-encoding"] == "identity"


class TestParameters:
    @pytest.mark.parametrize(
        "params",
        [
            pytest.param({}, id="no host"),
            pytest.param({"host": 7}, id="host of another type"),
            pytest.param({"host": ""}, id="empty host"),
            pytest.param({"host": "user@127.0.0.1"}, id="user in host"),
            pytest.param({"host": "127.0.0.1:80"}, id="port in host"),
            pytest.param({"host": "127.0.0.1 "}, id="blank in host"),
            pytest.param({"host": "127.0.0.1\r\nX-Evil: 1"}, id="line break in host"),
            pytest.param({"host": "127.0.0.1/x"}, id="path in host"),
            pytest.param({"host": "127.1"}, id="short address"),
            pytest.param({"host": "\ud800"}, id="half a character as host"),
            pytest.param({"host": "127.0.0.1", "port": 0}, id="port 0"),
            pytest.param({"host": "127.0.0.1", "port": 65_536}, id="port too high"),
            pytest.param({"host": "127.0.0.1", "port": "80"}, id="port as text"),
            pytest.param({"host": "127.0.0.1", "port": True}, id="port as truth"),
            pytest.param({"host": "127.0.0.1", "port": 80.5}, id="broken port"),
            pytest.param({"host": "127.0.0.1", "path": "x"}, id="relative path"),
            pytest.param({"host": "127.0.0.1", "path": ""}, id="empty path"),
            pytest.param({"host": "127.0.0.1", "path": "/a\r\nX-Evil: 1"}, id="line break in path"),
            pytest.param({"host": "127.0.0.1", "path": "/a\n"}, id="line feed after path"),
            pytest.param({"host": "127.0.0.1", "path": "/a b"}, id="blank in path"),
            pytest.param({"host": "127.0.0.1", "path": "/ä"}, id="umlaut in path"),
            pytest.param({"host": "127.0.0.1", "path": "/a#b"}, id="fragment in path"),
            pytest.param({"host": "127.0.0.1", "path": "/" * 4001}, id="endless path"),
            pytest.param({"host": "127.0.0.1", "scheme": "ftp"}, id="another scheme"),
            pytest.param({"host": "127.0.0.1", "method": "GET"}, id="unknown parameter"),
        ],
    )
    def test_that_do_not_fit_are_refused_at_once(self, desk, params):
        with pytest.raises(Unprocessable) as refused:
            desk.send("http", **params)
        assert refused.value.extra["errors"][0]["loc"][0] == "params"
        assert "input" not in refused.value.extra["errors"][0]

    @pytest.mark.parametrize(
        ("params", "port"),
        [({}, 80), ({"scheme": "https"}, 443), ({"scheme": "https", "port": 8443}, 8443)],
    )
    def test_are_told_as_they_are_in_force(self, make_desk, params, port):
        desk = make_desk(start=False)
        told = desk.get(desk.send("http", host="127.0.0.1", **params))
        assert told.params == {"host": "127.0.0.1", "path": "/", "scheme": "http", **params} | {
            "port": port
        }

    def test_of_a_target_that_is_not_listed_are_refused_at_once(self, make_desk):
        desk = make_desk(("127.0.0.1:8000",))
        with pytest.raises(TargetNotAllowed, match=r"127\.0\.0\.1:8001 is not among"):
            desk.send("http", host="127.0.0.1", port=8001)
        with pytest.raises(TargetNotAllowed, match="LORA_MANAGER_HTTP_TARGETS"):
            make_desk(()).send("http", host="127.0.0.1")


class TestRefusingAnAddress:
    def test_of_this_machine_that_only_a_pattern_allows(self, make_desk, target):
        desk = make_desk(("*.test",), lambda _host, _port: ["127.0.0.1"])
        done = desk.end_of(desk.send("http", host="inside.test", port=target.port))
        assert (done.status, done.error_code) == ("failed", "target_not_allowed")
        assert "inside.test leads to 127.0.0.1" in done.error
        assert (target.requests, len(done.attempts)) == ([], 1)

    def test_when_the_list_was_changed_since(self, make_desk, target):
        waiting = make_desk(start=False).send("http", host="127.0.0.1", port=target.port)
        done = make_desk(()).end_of(waiting)
        assert (done.status, done.error_code, target.requests) == (
            "failed",
            "target_not_allowed",
            [],
        )


class TestAnswers:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_that_redirect_are_not_followed(self, desk, target, status):
        with FakeTarget() as elsewhere:
            there = f"http://127.0.0.1:{elsewhere.port}/"
            target.answers = [(status, {"Location": there}, b"")]
            done = desk.end_of(desk.send("http", host="127.0.0.1", port=target.port))
            assert elsewhere.requests == []
        assert (done.status, done.error_code) == ("failed", "delivery_failed")
        assert f"answered {status} and points to {there}" in done.error
        assert len(target.requests) == 1

    @pytest.mark.parametrize("status", [400, 401, 404, 405, 500])
    def test_that_refuse_fail_at_once_with_what_was_said(self, desk, target, status):
        page = b"<!DOCTYPE html><html><style>p {}</style><p>No &lt;way&gt;</p></html>"
        target.answers = [(status, {"Content-Type": "text/html"}, page)]
        done = desk.end_of(desk.send("http", host="127.0.0.1", port=target.port))
        assert (done.status, len(target.requests)) == ("failed", 1)
        assert done.error == f"127.0.0.1:{target.port} answered {status}: No <way>"

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_that_say_later_are_tried_again(self, desk, target, status):
        target.answers = [(status, {}, b"later"), (status, {}, b"later"), (200, {}, b"now")]
        done = desk.end_of(desk.send("http", host="127.0.0.1", port=target.port))
        assert (done.status, done.result["body"]) == ("succeeded", "now")
        assert _outcomes(done) == ["failed", "failed", "succeeded"]
        assert done.attempts[0].error_code == "target_unavailable"
        assert f"answered {status}: later" in done.attempts[0].error
        keys = {headers["idempotency-key"] for _path, headers, _body in target.requests}
        assert len(keys) == 1

    def test_without_end_are_cut(self, desk, target):
        target.endless = True
        done = desk.end_of(desk.send("http", host="127.0.0.1", port=target.port))
        assert (done.status, done.error_code) == ("failed", "delivery_failed")
        assert "more than 1,048,576 bytes" in done.error

    def test_that_break_off_are_tried_again(self, desk, target):
        target.drops = 1
        done = desk.end_of(desk.send("http", host="127.0.0.1", port=target.port))
        assert _outcomes(done) == ["failed", "succeeded"]


class TestSilence:
    def test_of_a_slow_target_ends_and_is_tried_again(self, make_desk, target):
        target.gate.clear()
        desk = make_desk(silent_s=0.3)
        sent = desk.send("http", host="127.0.0.1", port=target.port)
        assert target.asked.wait(20)
        while not desk.get(sent).attempts[0].outcome:
            time.sleep(0.01)
        target.gate.set()
        done = desk.end_of(sent)
        assert done.attempts[0].error == f"127.0.0.1:{target.port} did not answer in time."
        assert done.status == "succeeded"

    def test_is_not_the_only_limit(self, make_desk, target):
        """A target that sends a little now and then is ended by the limit of the whole."""
        target.endless = True
        desk = make_desk(whole_s=0.5, answer_bytes=2**62)
        sent = desk.send("http", host="127.0.0.1", port=target.port)
        assert target.asked.wait(20)
        while not desk.get(sent).attempts[0].outcome:
            time.sleep(0.01)
        target.endless = False
        assert "did not end its answer within 0.5 seconds" in desk.end_of(sent).attempts[0].error

    def test_where_nobody_listens_fails_after_all_tries(self, desk, closed_port):
        done = desk.end_of(desk.send("http", host="127.0.0.1", port=closed_port))
        assert (done.status, done.error_code) == ("failed", "target_unavailable")
        assert _outcomes(done) == ["failed"] * 7
        assert (done.retries_left, done.attempt_count) == (0, 7)
        assert f"127.0.0.1:{closed_port} cannot be reached" in done.error


class TestCancelling:
    def test_ends_a_delivery_that_waits_for_its_answer(self, desk, target):
        target.gate.clear()
        sent = desk.send("http", host="127.0.0.1", port=target.port)
        assert target.asked.wait(20)
        assert desk.service.cancel(sent, "/v1").cancel_requested
        done = desk.end_of(sent)
        assert (done.status, done.result, _outcomes(done)) == ("cancelled", None, ["cancelled"])

    def test_ends_a_delivery_whose_answer_has_no_end(self, make_desk, target):
        target.endless = True
        desk = make_desk(answer_bytes=2**62)
        sent = desk.send("http", host="127.0.0.1", port=target.port)
        assert target.asked.wait(20)
        desk.service.cancel(sent, "/v1")
        assert desk.end_of(sent).status == "cancelled"

    def test_of_the_program_puts_the_delivery_back(self, make_desk, target):
        target.gate.clear()
        first = make_desk()
        sent = first.send("http", host="127.0.0.1", port=target.port)
        assert target.asked.wait(20)
        first.jobs.stop()
        assert first.get(sent).status == "retrying"
        target.gate.set()
        assert make_desk().end_of(sent).status == "succeeded"


class TestNames:
    def test_of_this_machine_have_an_address(self):
        assert "127.0.0.1" in resolve_host("localhost", 80)

    def test_that_cannot_be_looked_up_now_are_tried_again(self, make_desk, target):
        asked = []

        def _resolve(host, _port):
            asked.append(host)
            if len(asked) == 1:
                raise TargetUnavailable(f"The address of {host} was not found: try again.")
            return ["127.0.0.1"]

        desk = make_desk(("a.test",), _resolve)
        assert _outcomes(desk.end_of(desk.send("http", host="a.test", port=target.port))) == [
            "failed",
            "succeeded",
        ]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate with its key, for the name `secure.test`, signed by nobody."""
    file = tmp_path_factory.mktemp("certificate") / "both.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            + ["-nodes", "-subj", "/CN=secure.test", "-addext", "subjectAltName=DNS:secure.test"]
            + ["-keyout", str(file), "-out", str(file) + ".crt"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no `openssl` command")
    with file.open("a") as both:
        both.write(Path(str(file) + ".crt").read_text())
    return file


class TestHttps:
    @pytest.fixture
    def secure(self, certificate):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate)
        with FakeTarget(server) as target:
            yield target

    def test_delivers_where_the_certificate_is_valid_for_the_name(
        self, make_desk, secure, certificate
    ):
        trust = ssl.create_default_context(cafile=certificate)
        desk = make_desk(("secure.test",), lambda _host, _port: ["127.0.0.1"], trust)
        sent = desk.send("http", host="secure.test", port=secure.port, scheme="https")
        done = desk.end_of(sent)
        assert (done.status, done.error) == ("succeeded", None)
        assert secure.bodies == [{"prompt": "a fox"}]

    @pytest.mark.parametrize("host", ["secure.test", "other.test"])
    def test_fails_at_once_where_it_is_not(self, make_desk, secure, certificate, host):
        trusted = ssl.create_default_context(cafile=certificate) if host == "other.test" else None
        desk = make_desk((host,), lambda _host, _port: ["127.0.0.1"], trusted)
        done = desk.end_of(desk.send("http", host=host, port=secure.port, scheme="https"))
        assert (done.status, len(done.attempts), secure.requests) == ("failed", 1, [])
        assert "no valid certificate" in done.error
