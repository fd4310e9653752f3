"""Pictures in the making: listed while they wait and run, and followed."""

from __future__ import annotations

import pytest

from lora_manager_core.feed.base import Feed

_SMALL = {"prompt": "a fox", "steps": 4, "width": 64, "height": 64, "seed": 5}


def _queue(home):
    answer = home.client.post("/v1/generation/generate?mode=deferred", json=_SMALL)
    assert answer.status_code == 200, answer.text
    return answer.json()["job_id"]


def _active(home, **query):
    answer = home.client.get("/v1/generation/jobs/active", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["jobs"]


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
