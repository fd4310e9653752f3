"""Section 3 of the contract: sending, listing, cancelling and repeating deliveries over the API."""

from __future__ import annotations

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event

from lora_manager_core.backends.infotext import read_infotext
from lora_manager_core.db.models import Job
from lora_manager_core.deliveries.repository import Deliveries, DeliveryQuery
from lora_manager_core.errors import GenerationFailed
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobWriter

_PICTURE = {"steps": 2, "width": 64, "height": 64, "seed": 5}
_UNKNOWN = "00000000-0000-0000-0000-000000000000"


def _send(home, mode="cli", prompt="a fox", headers=None, **params):
    answer = home.client.post(
        "/v1/deliveries", json={"prompt": prompt, "mode": mode, "params": params}, headers=headers
    )
    assert answer.status_code == 201, answer.text
    assert list(answer.json()) == ["delivery_id"]
    return answer.json()["delivery_id"]


def _get(home, delivery_id, prefix="/v1"):
    answer = home.client.get(f"{prefix}/deliveries/{delivery_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()["delivery"]


def _end_of(home, delivery_id):
    home.application.services.get(Jobs).wait(delivery_id, 30)
    return _get(home, delivery_id)


def _page(home, **query):
    answer = home.client.get("/v1/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _problem(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["detail"]


@pytest.fixture
def held(home):
    """A home whose backend starts pictures and does not end them until its gate is opened."""
    home.backend.gate.clear()
    yield home
    home.backend.gate.set()


class TestCreating:
    def test_gives_a_delivery_that_is_done(self, home):
        sent = _send(home, prompt="a fox", template="[{prompt}]")
        done = _end_of(home, sent)
        attempts = done.pop("attempts")
        times = [done.pop(name) for name in ("created_at", "started_at", "finished_at")]
        result = done.pop("result")
        assert done == {
            "id": sent,
            "prompt": "a fox",
            "mode": "cli",
            "params": {"template": "[{prompt}]"},
            "status": "succeeded",
            "progress": 1.0,
            "message": None,
            "error": None,
            "error_code": None,
            "cancel_requested": False,
            "attempt_count": 1,
            "retries_left": 6,
            "not_before": None,
            "retry_of": None,
        }
        assert times == sorted(times)
        assert Path(result["file_path"]).read_text() == "[a fox]"
        outbox = home.application.settings.data_dir / "outbox"
        assert Path(result["file_path"]).parent == outbox
        assert [(a["number"], a["outcome"], a["error"]) for a in attempts] == [
            (1, "succeeded", None)
        ]

    def test_writes_where_the_setting_says(self, make_home, tmp_path):
        home = make_home(outbox_dir=tmp_path / "elsewhere")
        result = _end_of(home, _send(home))["result"]
        assert Path(result["file_path"]).parent == tmp_path / "elsewhere"

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            pytest.param({"prompt": "x", "mode": "pigeon"}, "unprocessable", id="unknown mode"),
            pytest.param({"prompt": "x", "mode": ""}, "validation", id="empty mode"),
            pytest.param({"prompt": "x"}, "validation", id="no mode"),
            pytest.param({"mode": "cli"}, "validation", id="no prompt"),
            pytest.param({"prompt": 7, "mode": "cli"}, "validation", id="prompt of another type"),
            pytest.param({"prompt": "x" * 100_001, "mode": "cli"}, "validation", id="huge prompt"),
            pytest.param({"prompt": "x", "mode": "cli", "params": []}, "validation", id="list"),
            pytest.param({"prompt": "x", "mode": "cli", "more": 1}, "validation", id="more fields"),
            pytest.param(
                {"prompt": "x", "mode": "cli", "params": {"more": 1}},
                "unprocessable",
                id="unknown parameter",
            ),
            pytest.param(
                {"prompt": "x", "mode": "http", "params": {"host": "127.0.0.1"}},
                "target_not_allowed",
                id="empty allow-list",
            ),
            pytest.param(
                {"prompt": "x", "mode": "sdnext", "params": {"steps": 1}},
                "unprocessable",
                id="unknown option of a picture",
            ),
            pytest.param(
                {"prompt": "x", "mode": "sdnext", "params": {"generation_params": [1]}},
                "unprocessable",
                id="picture parameters as a list",
            ),
            pytest.param(
                {"prompt": "x", "mode": "sdnext", "params": {"generation_params": {"steps": 0}}},
                "unprocessable",
                id="impossible picture",
            ),
            pytest.param(
                {"prompt": "x", "mode": "sdnext", "params": {"return_format": "bmp"}},
                "unprocessable",
                id="unknown format",
            ),
            pytest.param(
                {"prompt": "x", "mode": "sdnext", "params": {"backend": "nobody"}},
                "unprocessable",
                id="unknown backend",
            ),
        ],
    )
    def test_of_what_does_not_fit_is_refused_and_nothing_is_stored(self, home, body, code):
        _problem(home.client.post("/v1/deliveries", json=body), 422, code)
        assert _page(home)["total"] == 0

    @pytest.mark.parametrize(
        "raw",
        [
            rb'{"prompt": "\ud800", "mode": "cli"}',
            rb'{"prompt": "x", "mode": "cli", "params": {"template": "\ud800{prompt}"}}',
            rb'{"prompt": "x", "mode": "cli", "params": {"\ud800": 1}}',
            b'{"prompt": "x", "mode": "cli", "params": {"template": NaN}}',
            b'{"prompt": "", "mode": "sdnext", "params": {"generation_params": {"seed": 1e400}}}',
            b'{"prompt": "", "mode": "sdnext", "params": {"generation_params": {"steps": NaN}}}',
            b"[]",
            b"{",
        ],
    )
    def test_of_json_that_cannot_be_stored_is_refused(self, home, raw):
        answer = home.client.post(
            "/v1/deliveries", content=raw, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422, answer.text

    def test_stores_any_character_that_is_one(self, home):
        prompt = "\x01 \x7f \u2028 🦊 \ufffe"
        done = _end_of(home, _send(home, prompt=prompt))
        assert done["prompt"] == prompt
        assert Path(done["result"]["file_path"]).read_bytes() == prompt.encode()


class TestPictures:
    def test_are_links_under_the_prefix_that_was_asked(self, home):
        sent = _send(home, "sdnext", generation_params=_PICTURE)
        _end_of(home, sent)
        for prefix in ("/v1", "/api/v1"):
            told = _get(home, sent, prefix)
            (link,) = told["result"]["images"]
            assert link == f"{prefix}/generation/results/{sent}/images/0"
            assert home.client.get(link).headers["content-type"] == "image/png"
        assert told["params"]["return_format"] == "url"
        assert told["params"]["generation_params"]["steps"] == 2
        assert told["result"]["generation_info"]["seeds"] == [5]

    def test_come_as_paths_or_inline_where_asked(self, home):
        params = {"generation_params": {**_PICTURE, "batch_size": 2}}
        paths = _end_of(home, _send(home, "sdnext", return_format="file_path", **params))
        inline = _end_of(home, _send(home, "sdnext", return_format="base64", **params))
        assert len(paths["result"]["images"]) == 2
        for path, picture in zip(
            paths["result"]["images"], inline["result"]["images"], strict=True
        ):
            assert read_infotext(Path(path).read_bytes()) == read_infotext(
                base64.b64decode(picture)
            )
        for listed in _page(home)["items"]:
            assert all(image.startswith("/v1/generation/") for image in listed["result"]["images"])

    def test_whose_file_is_gone_are_null(self, home):
        sent = _send(home, "sdnext", return_format="file_path", generation_params=_PICTURE)
        Path(_end_of(home, sent)["result"]["images"][0]).unlink()
        assert _get(home, sent)["result"]["images"] == [None]

    def test_have_to_be_saved(self, home):
        body = {"prompt": "x", "mode": "sdnext", "params": {"save_images": False}}
        answer = home.client.post("/v1/deliveries", json=body)
        assert "always saved" in _problem(answer, 400, "invalid_request")


class TestIdempotency:
    def test_gives_the_same_delivery_for_the_same_key_and_request(self, home):
        key = {"Idempotency-Key": '"8e03978e"'}
        first = _send(home, prompt="a fox", template="{prompt}!", headers=key)
        _end_of(home, first)
        assert _send(home, prompt="a fox", template="{prompt}!", headers=key) == first
        assert _page(home)["total"] == 1

    def test_does_not_look_at_the_order_of_fields(self, home):
        key = {"Idempotency-Key": "k", "Content-Type": "application/json"}
        ids = {
            home.client.post("/v1/deliveries", content=body, headers=key).json()["delivery_id"]
            for body in (
                '{"prompt": "x", "mode": "cli", "params": {}}',
                '{"mode":"cli","prompt":"\\u0078"}',
            )
        }
        assert len(ids) == 1

    @pytest.mark.parametrize(
        "other",
        [
            {"prompt": "a dog", "mode": "cli"},
            {"prompt": "a fox", "mode": "sdnext"},
            {"prompt": "a fox", "mode": "cli", "params": {"template": "{prompt}."}},
        ],
        ids=["prompt", "mode", "parameters"],
    )
    def test_refuses_the_key_for_another_request(self, home, other):
        key = {"Idempotency-Key": "k"}
        _send(home, headers=key)
        answer = home.client.post("/v1/deliveries", json=other, headers=key)
        _problem(answer, 422, "idempotency_key_reused")
        assert _page(home)["total"] == 1

    def test_leaves_the_key_of_a_refused_request_free(self, home):
        key = {"Idempotency-Key": "k"}
        home.client.post("/v1/deliveries", json={"prompt": "x", "mode": "pigeon"}, headers=key)
        _send(home, headers=key)

    def test_makes_one_of_many_requests_at_once(self, home):
        together = threading.Barrier(8)

        def _sent(number):
            together.wait(20)
            return _send(home, headers={"Idempotency-Key": f"race {number % 2}"})

        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(_sent, range(8)))
        assert len(set(ids)) == 2
        assert len(set(ids[::2])) == len(set(ids[1::2])) == 1
        assert _page(home)["total"] == 2

    @pytest.mark.parametrize("key", ["", "x" * 201, "ä".encode("latin-1"), b"a\tb"])
    def test_refuses_a_key_that_is_none(self, home, key):
        answer = home.client.post(
            "/v1/deliveries", json={"prompt": "x", "mode": "cli"}, headers={"Idempotency-Key": key}
        )
        _problem(answer, 422, "validation")

    def test_without_a_key_makes_a_delivery_each_time(self, home):
        assert _send(home) != _send(home)


class TestFinding:
    @pytest.mark.parametrize("call", ["get", "cancel", "retry"])
    def test_an_unknown_one_or_another_job_is_told(self, home, call):
        scan = home.client.post("/v1/library/scan").json()["job_id"]
        home.application.services.get(Jobs).wait(scan, 30)
        for unknown in (_UNKNOWN, "no-id", scan):
            path = f"/v1/deliveries/{unknown}"
            answer = home.client.get(path) if call == "get" else home.client.post(f"{path}/{call}")
            _problem(answer, 404, "delivery_not_found")


class TestListing:
    @pytest.fixture
    def many(self, home):
        """Five ended deliveries of two modes, and a scan, which is none."""
        ids = [_send(home, prompt=f"number {number}") for number in range(3)]
        home.backend.error = GenerationFailed("no picture today")
        ids += [_send(home, "sdnext", prompt=f"number {number}") for number in (3, 4)]
        for sent in ids:
            _end_of(home, sent)
        return home, ids

    def test_gives_the_newest_first_without_other_jobs(self, many):
        home, ids = many
        page = _page(home)
        assert [item["id"] for item in page["items"]] == ids[::-1]
        assert {name: page[name] for name in page if name != "items"} == {
            "total": 5,
            "filtered": 5,
            "page": 1,
            "pages": 1,
            "per_page": 24,
        }
        failed = page["items"][0]
        assert (failed["mode"], failed["status"], failed["error"]) == (
            "sdnext",
            "failed",
            "no picture today",
        )
        assert (failed["attempt_count"], "attempts" in failed) == (1, False)

    def test_goes_by_pages(self, many):
        home, ids = many
        pages = [_page(home, page=number, per_page=2) for number in (1, 2, 3, 4)]
        assert [[item["id"] for item in page["items"]] for page in pages] == [
            [ids[4], ids[3]],
            [ids[2], ids[1]],
            [ids[0]],
            [],
        ]
        assert {page["pages"] for page in pages} == {3}

    @pytest.mark.parametrize(
        ("query", "numbers"),
        [
            ({"status": "failed"}, [4, 3]),
            ({"status": "failed, succeeded"}, [4, 3, 2, 1, 0]),
            ({"status": "pending,running,retrying"}, []),
            ({"status": ""}, [4, 3, 2, 1, 0]),
            ({"mode": "cli"}, [2, 1, 0]),
            ({"mode": "cli,sdnext"}, [4, 3, 2, 1, 0]),
            ({"mode": "http"}, []),
            ({"mode": "cli", "status": "failed"}, []),
        ],
    )
    def test_is_filtered(self, many, query, numbers):
        home, ids = many
        page = _page(home, **query)
        assert [item["id"] for item in page["items"]] == [ids[number] for number in numbers]
        assert (page["filtered"], page["total"]) == (len(numbers), 5)

    def test_is_filtered_by_time(self, many):
        home, ids = many
        third = _get(home, ids[2])["created_at"]
        later = _page(home, created_from=third)["items"]
        assert [item["id"] for item in later] == [ids[4], ids[3], ids[2]]
        assert [item["id"] for item in _page(home, created_until=third)["items"]] == [
            ids[1],
            ids[0],
        ]
        assert _page(home, created_from="2100-01-01T00:00:00+14:00")["filtered"] == 0

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"status": "done"}, "validation"),
            ({"mode": "pigeon"}, "unprocessable"),
            ({"page": 0}, "validation"),
            ({"per_page": 1001}, "validation"),
            ({"created_from": "yesterday"}, "validation"),
            ({"created_from": "2026-07-23T11:48:34"}, "validation"),
            ({"created_from": "0001-01-01T00:00:00+05:00"}, "validation"),
        ],
    )
    def test_refuses_what_it_does_not_know(self, home, query, code):
        _problem(home.client.get("/v1/deliveries", params=query), 422, code)

    def test_walks_an_index_in_the_order_wanted(self, database):
        """Without it, each look at the list would read and sort every delivery ever made."""
        kinds = ("generation", "delivery.http", "delivery.cli")
        with database.write() as session:
            writer = JobWriter(session)
            made = [writer.create(kinds[number % 3], "gpu", {}).id for number in range(300)]
        asked = []

        def _note(_connection, _cursor, statement, parameters, *_more):
            asked.append((statement, parameters))

        event.listen(database.engine, "before_cursor_execute", _note)
        with database.read() as session:
            page = Deliveries(session).page(DeliveryQuery(kinds), 10, 20)
            assert [job.id for job in page] == made[::-1][20:30]
            statement, parameters = asked[-1]
            if database.is_sqlite:
                plan = session.connection().exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {statement}", parameters
                )
                assert [row[3] for row in plan] == ["SCAN jobs USING INDEX ix_jobs_by_created"]


class TestCancelling:
    def test_a_waiting_one_never_starts(self, held):
        running = _send(held, "sdnext", generation_params=_PICTURE)
        assert held.backend.started.wait(20)
        waiting = _send(held, "sdnext", generation_params=_PICTURE)
        told = held.client.post(f"/v1/deliveries/{waiting}/cancel").json()["delivery"]
        assert (told["status"], told["attempts"]) == ("cancelled", [])
        held.backend.gate.set()
        _end_of(held, running)
        assert _get(held, waiting)["status"] == "cancelled"
        assert len(held.backend.requests) == 1

    def test_a_running_one_stops(self, held):
        sent = _send(held, "sdnext", generation_params=_PICTURE)
        assert held.backend.started.wait(20)
        told = held.client.post(f"/v1/deliveries/{sent}/cancel").json()["delivery"]
        assert told["cancel_requested"]
        held.backend.gate.set()
        done = _end_of(held, sent)
        assert (done["status"], done["result"], done["attempts"][0]["outcome"]) == (
            "cancelled",
            None,
            "cancelled",
        )

    def test_an_ended_one_is_told(self, home):
        sent = _send(home)
        _end_of(home, sent)
        answer = home.client.post(f"/v1/deliveries/{sent}/cancel")
        _problem(answer, 409, "job_already_finished")


class TestRetrying:
    def test_a_failed_one_is_sent_again_as_a_new_one(self, home):
        home.backend.error = GenerationFailed("no picture today")
        failed = _send(home, "sdnext", prompt="a fox", generation_params=_PICTURE)
        before = _end_of(home, failed)
        home.backend.error = None
        answer = home.client.post(f"/v1/deliveries/{failed}/retry")
        assert answer.status_code == 201
        again = _end_of(home, answer.json()["delivery_id"])
        assert (again["status"], again["retry_of"], again["prompt"]) == (
            "succeeded",
            failed,
            "a fox",
        )
        assert (again["params"], again["retries_left"]) == (before["params"], 6)
        assert _get(home, failed) == before

    def test_a_cancelled_one_stays_cancelled(self, held):
        sent = _send(held, "sdnext", generation_params=_PICTURE)
        held.client.post(f"/v1/deliveries/{sent}/cancel")
        held.backend.gate.set()
        assert _end_of(held, sent)["status"] == "cancelled"
        answer = held.client.post(f"/v1/deliveries/{sent}/retry")
        assert _end_of(held, answer.json()["delivery_id"])["status"] == "succeeded"
        assert _get(held, sent)["status"] == "cancelled"

    def test_one_that_has_not_ended_or_succeeded_is_refused(self, held):
        running = _send(held, "sdnext", generation_params=_PICTURE)
        assert held.backend.started.wait(20)
        waiting = _send(held, "sdnext", generation_params=_PICTURE)
        done = _send(held)
        _end_of(held, done)
        for sent, word in ((running, "running"), (waiting, "pending"), (done, "succeeded")):
            answer = held.client.post(f"/v1/deliveries/{sent}/retry")
            assert word in _problem(answer, 409, "nothing_to_retry")
        assert _page(held)["total"] == 3

    def test_one_that_is_tried_again_anyway_is_refused(self, make_home):
        home = make_home(http_targets=("127.0.0.1",))
        sent = _send(home, "http", host="127.0.0.1", port=1)
        while _get(home, sent)["status"] != "retrying":
            time.sleep(0.02)
        told = _get(home, sent)
        assert told["not_before"] > told["started_at"]
        assert (told["retries_left"], told["attempts"][0]["error_code"]) == (
            5,
            "target_unavailable",
        )
        answer = home.client.post(f"/v1/deliveries/{sent}/retry")
        assert "retrying" in _problem(answer, 409, "nothing_to_retry")
        told = home.client.post(f"/v1/deliveries/{sent}/cancel").json()["delivery"]
        assert told["status"] == "cancelled"


class TestComposing:
    @pytest.mark.parametrize(
        ("mode", "params"),
        [
            ("sdnext", {"generation_params": _PICTURE}),
            ("cli", {}),
            ("http", {"host": "127.0.0.1", "port": 1}),
        ],
    )
    def test_stores_the_delivery_with_the_composition(self, make_home, mode, params):
        home = make_home(http_targets=("127.0.0.1",))
        home.client.post(f"/v1/adapters/{home.adapter('alice')['id']}/activate")
        answer = home.client.post(
            "/v1/compose",
            json={"prefix": "a fox", "delivery": {"mode": mode, "params": params}},
        ).json()
        assert answer["prompt"] == "a fox <lora:alice:1.000>"
        assert list(answer["delivery"]) == ["id", "status"]
        assert answer["delivery"]["status"] == "pending"
        told = _get(home, answer["delivery"]["id"])
        assert (told["mode"], told["prompt"]) == (mode, answer["prompt"])

    @pytest.mark.parametrize(
        "delivery",
        [
            {"mode": "pigeon"},
            {"mode": "sdnext", "params": {"steps": 1}},
            {"mode": "cli", "params": {"template": "no place"}},
            {"mode": "http", "params": {"host": "elsewhere.test"}},
        ],
        ids=lambda delivery: delivery["mode"],
    )
    def test_stores_nothing_where_the_delivery_is_refused(self, home, delivery):
        answer = home.client.post("/v1/compose", json={"prefix": "a fox", "delivery": delivery})
        assert answer.status_code == 422
        with home.application.database.read() as session:
            jobs = session.query(Job).filter(Job.kind != "library.scan").all()
        assert [job.kind for job in jobs if job.kind.startswith(("generation", "delivery"))] == []
