"""Pictures in the making: queued as deliveries, listed while they wait and run, and followed."""

from __future__ import annotations

import pytest

from lora_manager_core.backends.base import BackendStatus
from lora_manager_core.db.models import Job
from lora_manager_core.errors import BackendUnavailable
from lora_manager_core.feed.base import Feed
from lora_manager_core.generation.orders import BACKGROUND_RETRIES

_SMALL = {"prompt": "a fox", "steps": 4, "width": 64, "height": 64, "seed": 5}


def _queue(home, **query):
    answer = home.client.post("/v1/generation/queue-generation", params=query, json=_SMALL)
    assert answer.status_code == 201, answer.text
    return answer.json()["delivery_id"]


def _active(home, **query):
    answer = home.client.get("/v1/generation/jobs/active", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["jobs"]


class TestQueueGeneration:
    def test_makes_the_picture_later_and_tells_the_feed(self, home):
        recorder = home.record_feed()
        delivery = _queue(home)
        recorder.wait_for_end(delivery)
        kinds = [event.type for event in recorder.of(delivery)]
        assert (kinds[0], kinds[-1]) == ("generation_started", "generation_complete")
        job = home.client.get(f"/v1/generation/jobs/{delivery}").json()["delivery"]
        assert (job["status"], len(job["result"]["images"])) == ("completed", 1)
        assert home.client.get(job["result"]["images"][0]).status_code == 200

    def test_does_not_ask_the_backend_and_tries_again_what_may_pass(self, home):
        home.backend.status = BackendStatus("sdnext", False, "SD.Next is still starting.")
        home.backend.error = BackendUnavailable("SD.Next is still starting.")
        recorder = home.record_feed()
        delivery = _queue(home)
        recorder.wait_for(lambda event: event.data.get("status") == "queued")
        [waiting] = _active(home)
        assert (waiting["id"], waiting["status"]) == (delivery, "queued")
        assert "starting" in waiting["message"]
        with home.application.database.read() as session:
            assert session.get_one(Job, delivery).retries_left == BACKGROUND_RETRIES - 1
        home.backend.error = None
        recorder.wait_for_end(delivery)
        assert recorder.of(delivery)[-1].data["status"] == "completed"

    def test_makes_one_delivery_of_a_request_that_is_sent_twice(self, home):
        recorder = home.record_feed()
        headers = {"Idempotency-Key": "once"}
        path = "/v1/generation/queue-generation"
        first, second = (
            home.client.post(path, json=_SMALL, headers=headers).json() for _ in range(2)
        )
        assert first == second
        recorder.wait_for_end(first["delivery_id"])
        assert len(home.backend.requests) == 1
        other = home.client.post(path, json={**_SMALL, "seed": 6}, headers=headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    @pytest.mark.parametrize(
        ("query", "change", "status"),
        [
            ({"backend": "nope"}, {}, 422),
            ({"save_images": False}, {}, 400),
            ({"return_format": "carrier pigeon"}, {}, 422),
            ({}, {"width": -1}, 422),
            ({}, {"prompt": None}, 422),
            ({}, {"unknown": 1}, 422),
        ],
        ids=str,
    )
    def test_refuses_at_once_what_can_never_work(self, home, query, change, status):
        answer = home.client.post(
            "/v1/generation/queue-generation", params=query, json={**_SMALL, **change}
        )
        assert answer.status_code == status
        assert _active(home) == []


class TestActiveJobs:
    def test_are_those_that_run_and_wait_oldest_first(self, home):
        recorder = home.record_feed()
        home.backend.gate.clear()
        jobs = [_queue(home) for _ in range(3)]
        recorder.wait_for(lambda event: event.data.get("current_step") == 1)
        running, waiting, last = _active(home)
        assert [job["id"] for job in (running, waiting, last)] == jobs
        assert running == {
            "id": jobs[0],
            "jobId": jobs[0],
            "prompt": "a fox",
            "status": "processing",
            "progress": 25.0,
            "message": None,
            "error": None,
            "params": running["params"],
            "created_at": running["created_at"],
            "startTime": running["startTime"],
            "finished_at": None,
            "result": None,
        }
        assert running["params"]["steps"] == 4
        assert running["created_at"] <= running["startTime"]
        assert (waiting["status"], waiting["progress"], waiting["startTime"]) == ("queued", 0, None)
        assert [job["id"] for job in _active(home, limit=2)] == jobs[:2]
        home.backend.gate.set()
        for job in jobs:
            recorder.wait_for_end(job)
        assert _active(home) == []

    def test_hold_no_library_jobs(self, home):
        home.client.post("/v1/library/scan")
        assert _active(home) == []

    @pytest.mark.parametrize("limit", [0, -1, 1001, "many"])
    def test_refuse_a_limit_that_makes_no_sense(self, home, limit):
        answer = home.client.get("/v1/generation/jobs/active", params={"limit": limit})
        assert answer.status_code == 422


class TestProgress:
    def test_is_the_step_the_feed_was_told_last(self, home):
        def _hold(event):
            if event.data.get("current_step") == 3:
                home.backend.gate.clear()  # the row has the first step of this second only

        home.application.services.get(Feed).subscribe(_hold)
        recorder = home.record_feed()
        job = _queue(home)
        recorder.wait_for(lambda event: event.data.get("current_step") == 3)
        told = home.client.get(f"/v1/generation/progress/{job}").json()
        assert (told["current_step"], told["total_steps"], told["progress"]) == (3, 4, 0.75)
        assert told["status"] == "processing"
        home.backend.gate.set()
        recorder.wait_for_end(job)
        told = home.client.get(f"/v1/generation/progress/{job}").json()
        assert (told["status"], told["progress"]) == ("completed", 1.0)
