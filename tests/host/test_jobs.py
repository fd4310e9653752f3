"""Queued jobs beside the host's own work: order, progress, cancel, restart, usage, previews."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from tests.host.conftest import StartHost
from tests.host.running import Picture, RunningHost

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

_log = logging.getLogger(__name__)

ORDER = {"prompt": "a cat", "steps": 12, "width": 128, "height": 128, "seed": 42}
#: A picture large enough that its steps can be told apart by asking over HTTP.
LONG = {"steps": 150, "width": 256, "height": 256}
OFF = {"LoRA Manager": {"args": [False]}}


@pytest.fixture(scope="module")
def host(start_host: StartHost) -> RunningHost:
    """A host of these tests' own, because one of them restarts it."""
    host = start_host("jobs")
    host.wait_for_scan()
    return host


def queue(host: RunningHost, **changes: Any) -> str:
    """A picture for later; gives the job's id."""
    answer = host.client.post(
        "/v1/generation/queue-generation", json={**ORDER, "sampler_name": "Default", **changes}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["delivery_id"])


def job(host: RunningHost, job_id: str) -> dict[str, Any]:
    answer = host.client.get(f"/v1/generation/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["delivery"])


def wait_for(host: RunningHost, job_id: str, *statuses: str, timeout_s: float = 120) -> Any:
    """The job once it is in one of these states."""
    give_up_at = time.monotonic() + timeout_s
    while (record := job(host, job_id))["status"] not in statuses:
        assert time.monotonic() < give_up_at, record
        time.sleep(0.1)
    return record


class Listener:
    """A socket of the feed and all that came over it, read by a thread."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for message in self._socket:
            with self._changed:
                self.events.append(json.loads(message))
                self._changed.notify_all()

    def of(self, job_id: str, kind: str) -> list[dict[str, Any]]:
        """The data of a job's events of one type."""
        found = [event for event in self.events if event["type"] == kind]
        return [event["data"] for event in found if event["data"]["job_id"] == job_id]

    def wait_for(self, job_id: str, kind: str, timeout_s: float = 120) -> dict[str, Any]:
        """The first event of that type of a job."""
        with self._changed:
            came = self._changed.wait_for(lambda: self.of(job_id, kind), timeout_s)
        assert came, self.events[-5:]
        return self.of(job_id, kind)[0]

    def jobs(self, kind: str, *among: str) -> list[str]:
        """The jobs of the events of one type, in the order they came."""
        found = [e["data"]["job_id"] for e in self.events if e["type"] == kind]
        return [job_id for job_id in found if job_id in among]


@contextmanager
def listening(host: RunningHost, **wanted: Any) -> Iterator[Listener]:
    with connect(f"ws://127.0.0.1:{host.port}/v1/ws/progress", max_size=2**24) as socket:
        listener = Listener(socket)
        socket.send(json.dumps({"type": "subscribe", **wanted}))
        while not any(event["type"] == "subscription_confirmed" for event in listener.events):
            time.sleep(0.01)
        yield listener


@contextmanager
def its_own_api_at_work(host: RunningHost, **more: Any) -> Iterator[list[Picture]]:
    """While the host makes a picture that its own API was asked for; gives it at the end."""
    made: list[Picture] = []
    order = {"steps": 60, "width": 256, "height": 256, "alwayson_scripts": OFF, **more}
    thread = threading.Thread(target=lambda: made.append(host.txt2img("a dog", **order)))
    thread.start()
    give_up_at = time.monotonic() + 60
    while not host.client.get("/sdapi/v1/status").json()["step"]:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    yield made
    thread.join(120)


class TestBesideItsOwnApi:
    def test_all_are_done_in_their_order(self, host: RunningHost) -> None:
        with listening(host) as feed:
            with its_own_api_at_work(host) as made:
                ids = [queue(host, seed=seed) for seed in (1, 2, 3)]
                waited = [job(host, job_id)["status"] for job_id in ids[1:]]
                assert not made  # it was really at work all the while
            for job_id in ids:
                feed.wait_for(job_id, "generation_complete")
            started = feed.jobs("generation_started", *ids)
            ended = feed.jobs("generation_complete", *ids)
            told = [data["progress"] for data in feed.of(ids[0], "progress_update")]
        assert waited == ["queued", "queued"]
        assert started == ended == ids
        assert any(0 < progress < 1 for progress in told)
        assert told == sorted(told)
        assert len(made) == 1
        for job_id, seed in zip(ids, (1, 2, 3), strict=True):
            record = job(host, job_id)
            assert record["status"] == "completed"
            assert record["result"]["generation_info"]["seeds"] == [seed]

    def test_its_own_picture_is_not_disturbed(self, host: RunningHost) -> None:
        alone = host.txt2img("a dog", steps=60, width=256, height=256, alwayson_scripts=OFF)
        with its_own_api_at_work(host) as made:
            job_id = queue(host)
        wait_for(host, job_id, "completed")
        assert made[0].distance(alone) == 0


class TestCancel:
    def test_during_sampling_stops_within_two_steps(self, host: RunningHost) -> None:
        with listening(host) as feed:
            job_id = queue(host, **LONG)
            while len(feed.of(job_id, "progress_update")) < 2:
                time.sleep(0.02)
            steps: list[tuple[float, int]] = []
            over = threading.Event()

            def _watch() -> None:
                while not over.is_set():
                    asked_at = time.monotonic()
                    status = host.client.get("/sdapi/v1/status").json()
                    if status["task"] == "Inference":
                        steps.append((asked_at, status["step"]))

            watcher = threading.Thread(target=_watch)
            watcher.start()
            time.sleep(0.5)
            cancelled_at = time.monotonic()
            answer = host.client.post(f"/v1/generation/jobs/{job_id}/cancel")
            answered_at = time.monotonic()
            end = feed.wait_for(job_id, "generation_complete")
            took_s = time.monotonic() - cancelled_at
            over.set()
            watcher.join()
        assert answer.status_code == 200, answer.text
        assert end["status"] == "cancelled"
        (first_at, first), (last_at, last) = steps[0], steps[-1]
        step_s = (last_at - first_at) / max(last - first, 1)
        # where it stood when the request had been taken, not when it was sent
        then = max(step for at, step in steps if at <= answered_at)
        _log.info("step %.3f s; cancelled at %d, at %d; %.2f s", step_s, then, last, took_s)
        assert last < LONG["steps"] / 2
        assert last - then <= 2
        record = job(host, job_id)
        assert (record["status"], record["result"]) == ("cancelled", None)
        assert not list(host.user_data.rglob(f"{job_id}*"))

    def test_a_queued_one_never_starts(self, host: RunningHost) -> None:
        with listening(host) as feed:
            with its_own_api_at_work(host):
                first, second = queue(host), queue(host)
                assert host.client.post(f"/v1/generation/jobs/{second}/cancel").status_code == 200
            wait_for(host, first, "completed")
            assert job(host, second)["status"] == "cancelled"
            assert feed.of(second, "generation_started") == []
        assert job(host, second)["started_at"] is None

    def test_one_that_waits_for_the_host_spares_the_picture_in_front(
        self, host: RunningHost
    ) -> None:
        """It runs for us, and waits for the host's queue: an interrupt would hit the other."""
        with listening(host) as feed, its_own_api_at_work(host) as made:
            job_id = queue(host)
            feed.wait_for(job_id, "generation_started")
            assert host.client.post(f"/v1/generation/jobs/{job_id}/cancel").status_code == 200
            end = feed.wait_for(job_id, "generation_complete")
            assert not made
        assert end["status"] == "cancelled"
        alone = host.txt2img("a dog", steps=60, width=256, height=256, alwayson_scripts=OFF)
        assert made[0].distance(alone) == 0


class TestPreviews:
    def test_arrive_for_who_asks(self, host: RunningHost) -> None:
        """With `show_progress_type` Simple, which needs no weights."""
        with (
            listening(host, include_previews=True) as asking,
            listening(host) as silent,
        ):
            job_id = queue(host, steps=60, width=384, height=384)
            asking.wait_for(job_id, "generation_complete")
            silent.wait_for(job_id, "generation_complete")
            told = [data["preview_image"] for data in asking.of(job_id, "progress_update")]
            others = [data["preview_image"] for data in silent.of(job_id, "progress_update")]
        previews = [preview for preview in told if preview]
        assert previews
        _log.info("%d previews in %d reports, %d B", len(previews), len(told), len(previews[0]))
        assert len(previews) < len(told)
        assert not any(others)
        head, _, encoded = previews[0].partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(BytesIO(base64.b64decode(encoded))) as image:
            assert image.format == "JPEG"
            darkest, brightest = image.convert("L").getextrema()
        assert darkest < brightest

    def test_none_while_nobody_looks(self, host: RunningHost) -> None:
        with listening(host) as feed:
            job_id = queue(host, steps=30, width=256, height=256)
            feed.wait_for(job_id, "generation_complete")
            told = feed.of(job_id, "progress_update")
        assert told
        assert not any(data["preview_image"] for data in told)


class Usage:
    """What `/dashboard/usage` says since this was made."""

    def __init__(self, host: RunningHost) -> None:
        self._host = host
        self._before = self._ask()

    def _ask(self) -> dict[str, Any]:
        answer = self._host.client.get("/v1/dashboard/usage", params={"days": 2, "limit": 200})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _uses(self, usage: dict[str, Any], name: str) -> int:
        return sum(group["runs"] for group in usage["groups"] if group["name"] == name)

    def grew(self, runs: int, images: int, **uses: int) -> None:
        """Assert that so many came in; they are written by a thread of their own."""
        give_up_at = time.monotonic() + 10
        while True:
            now = self._ask()
            found = (
                now["total_runs"] - self._before["total_runs"],
                now["total_images"] - self._before["total_images"],
                {name: self._uses(now, name) - self._uses(self._before, name) for name in uses},
            )
            if found == (runs, images, uses):
                return
            assert time.monotonic() < give_up_at, (found, (runs, images, uses))
            time.sleep(0.2)


class TestUsage:
    @pytest.fixture(autouse=True)
    def _nothing_active(self, host: RunningHost) -> Iterator[None]:
        host.activate_only()
        yield
        host.activate_only()

    @pytest.mark.parametrize("way", ["txt2img", "img2img", "control"])
    def test_its_own_api_with_the_injected_set(self, host: RunningHost, way: str) -> None:
        host.activate_only(amber_watercolor=0.8)
        usage = Usage(host)
        getattr(host, way)("a cat <lora:ink_portrait:0.4>")
        usage.grew(runs=1, images=1, amber_watercolor=1, ink_portrait=1)

    def test_a_batch_is_one_run_of_several_pictures(self, host: RunningHost) -> None:
        usage = Usage(host)
        host.txt2img("a cat <lora:amber_watercolor:0.5>", batch_size=2, n_iter=2)
        usage.grew(runs=1, images=4, amber_watercolor=1)

    def test_each_cell_of_an_xyz_grid(self, host: RunningHost) -> None:
        usage = Usage(host)
        axis = ["[Param] Steps", "3, 4, 5", []]
        nothing = ["Nothing", "", []]
        # csv, legend, seeds; grid, sub-grids, images, time, text, margin; the video, not made
        rest = [
            True,
            False,
            False,
            True,
            False,
            True,
            False,
            False,
            0,
            False,
            "None",
            2,
            True,
            1,
            0,
        ]
        host.txt2img(
            "a cat <lora:amber_watercolor:0.5>",
            script_name="xyz grid script",
            script_args=[*axis, *nothing, *nothing, *rest],
        )
        usage.grew(runs=3, images=3, amber_watercolor=3)

    def test_an_interrupted_picture_is_not_counted(self, host: RunningHost) -> None:
        usage = Usage(host)
        with its_own_api_at_work(host, steps=150):
            assert host.client.post("/sdapi/v1/interrupt").status_code < 300
        host.txt2img("a cat")
        usage.grew(runs=1, images=1)  # only the one after it

    def test_our_own_jobs_count_once(self, host: RunningHost) -> None:
        usage = Usage(host)
        wait_for(host, queue(host, prompt="a cat <lora:amber_watercolor:0.8>"), "completed")
        host.txt2img("a cat")
        usage.grew(runs=2, images=2, amber_watercolor=1)


class TestRestart:
    """Last, and of the host itself: `execv`, with no word to anybody."""

    def test_running_and_pending_jobs_finish(self, host: RunningHost) -> None:
        running = queue(host, steps=60, width=256, height=256)
        pending = [queue(host, seed=seed) for seed in (1, 2)]
        give_up_at = time.monotonic() + 60
        while not job(host, running)["progress"]:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        pid = host.process.pid
        host.restart()
        assert host.process.pid == pid
        assert host.process.poll() is None
        for job_id in (running, *pending):
            record = wait_for(host, job_id, "completed", "failed")
            assert record["status"] == "completed", record
            assert len(record["result"]["images"]) == 1
            answer = host.client.get(record["result"]["images"][0])
            assert answer.headers["content-type"] == "image/png"
        assert host.txt2img("a cat").image.size == (128, 128)
