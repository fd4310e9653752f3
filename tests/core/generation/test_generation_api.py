"""Section 4 of the contract: ordering pictures, following, cancelling and fetching them."""

from __future__ import annotations

import base64
import threading
from pathlib import Path

import pytest

from lora_manager_core.backends.base import BackendStatus
from lora_manager_core.backends.infotext import read_infotext
from lora_manager_core.errors import (
    BackendLoginRefused,
    BackendUnavailable,
    GenerationFailed,
    OutOfMemory,
)
from lora_manager_core.feed.base import Feed

_SMALL = {"prompt": "a fox", "steps": 3, "width": 64, "height": 64, "seed": 5}


def _generate(home, body=None, **query):
    answer = home.client.post("/v1/generation/generate", params=query, json=body or _SMALL)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _activate(home, name):
    home.client.post(f"/v1/adapters/{home.adapter(name)['id']}/activate")


class TestBackends:
    def test_are_really_asked(self, home):
        home.backend.status = BackendStatus("sdnext", False, "No model is loaded; load one.")
        answer = home.client.get("/v1/generation/backends").json()
        assert answer["backends"] == [
            {
                "name": "sdnext",
                "available": False,
                "reason": "No model is loaded; load one.",
                "model": None,
                "base_model": None,
                "default": True,
            }
        ]


class TestGenerate:
    def test_gives_pictures_with_their_infotext(self, home):
        answer = _generate(home)
        assert (answer["status"], answer["progress"], len(answer["images"])) == ("completed", 1, 1)
        png = base64.b64decode(answer["images"][0])
        assert read_infotext(png) == "a fox\nSteps: 3, Seed: 5"
        assert answer["generation_info"]["seeds"] == [5]

    def test_gives_links_that_work_under_either_prefix(self, home):
        for prefix in ("/v1", "/api/v1"):
            answer = home.client.post(
                f"{prefix}/generation/generate", params={"return_format": "url"}, json=_SMALL
            ).json()
            assert answer["images"][0].startswith(f"{prefix}/generation/results/")
            picture = home.client.get(answer["images"][0])
            assert picture.headers["content-type"] == "image/png"
            assert "immutable" in picture.headers["cache-control"]

    def test_gives_file_paths(self, home):
        answer = _generate(home, return_format="file_path")
        assert read_infotext(Path(answer["images"][0]).read_bytes())

    def test_keeps_nothing_when_asked_not_to(self, home):
        answer = _generate(home, save_images=False)
        assert answer["images"]
        outputs = home.application.settings.outputs
        assert [p for p in outputs.rglob("*") if p.is_file()] == []
        gone = home.client.get(f"/v1/generation/results/{answer['job_id']}/images/0")
        assert gone.status_code == 404

    def test_makes_batches(self, home):
        answer = _generate(home, {**_SMALL, "batch_size": 2, "n_iter": 2})
        assert len(answer["images"]) == 4
        assert answer["generation_info"]["seeds"] == [5, 6, 7, 8]

    def test_translates_the_names_of_records(self, home):
        alice = home.adapter("alice")
        home.client.patch(f"/v1/adapters/{alice['id']}", json={"name": "My Alice"})
        _generate(home, {**_SMALL, "prompt": "x <lora:My Alice:0.7>"})
        assert home.backend.requests[0].prompt == "x <lora:alice:0.7>"

    def test_warns_of_odd_values_and_makes_the_picture(self, home):
        answer = _generate(home, {**_SMALL, "width": 65, "cfg_scale": 31.0, "prompt": " "})
        assert len(answer["warnings"]) == 3

    @pytest.mark.parametrize(
        "change",
        [{"width": -1}, {"steps": 0}, {"cfg_scale": "7"}, {"seed": -2}, {"prompt": None}, {"x": 1}],
        ids=str,
    )
    def test_refuses_impossible_values(self, home, change):
        answer = home.client.post("/v1/generation/generate", json={**_SMALL, **change})
        assert answer.status_code == 422
        assert home.backend.requests == []

    def test_an_unknown_backend_is_refused(self, home):
        answer = home.client.post(
            "/v1/generation/generate", params={"backend": "nope"}, json=_SMALL
        )
        assert answer.status_code == 422

    def test_unsaved_pictures_cannot_be_linked_to(self, home):
        for query in ({"return_format": "url"}, {"mode": "deferred"}):
            answer = home.client.post(
                "/v1/generation/generate", params={"save_images": False, **query}, json=_SMALL
            )
            assert answer.status_code == 400


class TestFailures:
    def test_an_unavailable_backend_is_said_before_a_job_is_made(self, home):
        home.backend.status = BackendStatus("sdnext", False, "SD.Next is still starting.")
        answer = home.client.post("/v1/generation/generate", json=_SMALL)
        assert (answer.status_code, answer.json()["code"]) == (424, "backend_unavailable")
        assert answer.json()["detail"] == "SD.Next is still starting."
        assert home.backend.requests == []

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (BackendUnavailable("gone"), 424, "backend_unavailable"),
            (BackendLoginRefused("wrong"), 424, "backend_login_refused"),
            (OutOfMemory("make it smaller"), 503, "out_of_memory"),
            (GenerationFailed("it broke"), 500, "generation_failed"),
        ],
        ids=lambda value: getattr(value, "code", value),
    )
    def test_end_the_job_and_are_answered_as_what_they_are(self, home, error, status, code):
        home.backend.error = error
        answer = home.client.post("/v1/generation/generate", json=_SMALL)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["detail"] == error.detail
        progress = home.client.get(f"/v1/generation/progress/{answer.json()['job_id']}").json()
        assert (progress["status"], progress["error_message"]) == ("failed", error.detail)

    def test_a_defect_tells_the_caller_nothing_of_the_inside(self, home, caplog):
        home.backend.error = RuntimeError("/secret/path")
        answer = home.client.post("/v1/generation/generate", json=_SMALL)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "secret" not in answer.text
        assert "/secret/path" in caplog.text

    def test_a_picture_that_cannot_be_stored_fails_the_job(self, home):
        outputs = home.application.settings.outputs
        outputs.parent.mkdir(exist_ok=True)
        outputs.write_text("a file where the folder should be")
        answer = home.client.post("/v1/generation/generate", json=_SMALL)
        assert (answer.status_code, answer.json()["code"]) == (500, "generation_failed")
        assert "output folder" in answer.json()["detail"]

    def test_the_next_picture_works_after_a_failure(self, home):
        home.backend.error = OutOfMemory("too big")
        home.client.post("/v1/generation/generate", json=_SMALL)
        home.backend.error = None
        assert _generate(home)["status"] == "completed"

    @pytest.mark.parametrize("form", ["base64", "file_path"])
    def test_pictures_that_are_not_on_this_machine_are_told_as_such(self, home, form):
        def lose(event):
            if event.is_end:
                for picture in home.application.settings.outputs.rglob("*.png"):
                    picture.unlink()

        home.application.services.get(Feed).subscribe(lose)
        answer = home.client.post(
            "/v1/generation/generate", json=_SMALL, params={"return_format": form}
        )
        assert (answer.status_code, answer.json()["code"]) == (500, "generation_failed")
        assert "same output folder" in answer.json()["detail"]


class TestComposeAndGenerate:
    def test_makes_the_picture_of_the_active_set(self, home):
        _activate(home, "alice")
        answer = home.client.post(
            "/v1/generation/compose-and-generate",
            json={
                "compose_request": {"prefix": "a fox"},
                "generation_params": {k: v for k, v in _SMALL.items() if k != "prompt"},
            },
        ).json()
        assert answer["prompt"] == "a fox <lora:alice:1.000>"
        png = base64.b64decode(answer["images"][0])
        assert "<lora:alice:1.000>" in (read_infotext(png) or "")

    def test_takes_the_prompt_of_the_parameters_where_the_composition_has_none(self, home):
        _activate(home, "alice")
        body = {"generation_params": {**_SMALL, "prompt": "a crow"}}
        answer = home.client.post("/v1/generation/compose-and-generate", json=body).json()
        assert answer["prompt"] == "a crow <lora:alice:1.000>"
        body["compose_request"] = {"prefix": "a fox"}
        answer = home.client.post("/v1/generation/compose-and-generate", json=body).json()
        assert answer["prompt"] == "a fox <lora:alice:1.000>"

    def test_without_active_adapters_is_refused(self, home):
        answer = home.client.post("/v1/generation/compose-and-generate", json={})
        assert answer.status_code == 400
        assert "activate" in answer.json()["detail"]


class TestProgressAndCancel:
    def test_a_running_job_is_followed_and_stopped(self, home):
        recorder = home.record_feed()
        home.backend.gate.clear()
        job = _generate(home, mode="deferred")["job_id"]
        assert home.backend.started.wait(10)
        recorder.wait_for(lambda event: event.data.get("current_step") == 1)
        progress = home.client.get(f"/v1/generation/progress/{job}").json()
        assert (progress["status"], progress["total_steps"]) == ("processing", 3)
        cancelled = home.client.post(f"/v1/generation/jobs/{job}/cancel").json()
        assert cancelled["status"] == "cancelled"
        recorder.wait_for_end(job)
        assert home.client.get(f"/v1/generation/progress/{job}").json()["status"] == "cancelled"
        again = home.client.post(f"/v1/generation/jobs/{job}/cancel")
        assert (again.status_code, again.json()["code"]) == (409, "job_already_finished")

    def test_a_queued_job_never_starts(self, home):
        recorder = home.record_feed()
        home.backend.gate.clear()
        first = _generate(home, mode="deferred")["job_id"]
        assert home.backend.started.wait(10)
        second = _generate(home, mode="deferred")["job_id"]
        home.client.post(f"/v1/generation/jobs/{second}/cancel")
        home.backend.gate.set()
        recorder.wait_for_end(first)
        recorder.wait_for_end(second)
        assert len(home.backend.requests) == 1
        assert home.client.get(f"/v1/generation/progress/{second}").json()["status"] == "cancelled"

    def test_a_finished_job_is_given_whole(self, home):
        made = _generate(home, return_format="url")
        job = home.client.get(f"/v1/generation/jobs/{made['job_id']}").json()["delivery"]
        assert (job["status"], job["prompt"], job["progress"]) == ("completed", "a fox", 1.0)
        assert job["result"]["images"] == made["images"]
        assert job["created_at"] <= job["started_at"] <= job["finished_at"]

    def test_unknown_jobs_are_not_found(self, home):
        assert home.client.get("/v1/generation/jobs/ghost").status_code == 404
        scan = home.client.post("/v1/library/scan").json()["job_id"]
        assert home.client.get(f"/v1/generation/jobs/{scan}").status_code == 404
        assert home.client.get("/v1/generation/progress/ghost").status_code == 404
        assert home.client.post("/v1/generation/jobs/ghost/cancel").status_code == 404

    def test_too_many_waiting_callers_are_told_to_come_back(self, home):
        home.backend.gate.clear()
        answers: list[int] = []

        def _wait() -> None:
            answer = home.client.post("/v1/generation/generate", json=_SMALL)
            answers.append(answer.status_code)

        threads = [threading.Thread(target=_wait) for _ in range(9)]
        for thread in threads:
            thread.start()
        while 503 not in answers and any(thread.is_alive() for thread in threads):
            threads[0].join(0.02)
        home.backend.gate.set()
        for thread in threads:
            thread.join(30)
        assert sorted(answers) == [200] * 8 + [503]
