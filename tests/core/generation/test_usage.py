"""Generations that really ran: one row each, with the adapters that their prompts applied."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import select

from lora_manager_core.db.models import GenerationRun, RunAdapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import GenerationFailed
from lora_manager_core.generation.runs import FROM_UI, Run
from lora_manager_core.generation.usage import UsageRecorder, loras_used

_SMALL = {"steps": 3, "width": 64, "height": 64, "seed": 5}


def _runs(database):
    with database.read() as session:
        return list(session.scalars(select(GenerationRun).order_by(GenerationRun.id)))


def _adapters(database):
    """Adapter id, name and weight of all runs, in their order."""
    with database.read() as session:
        query = select(RunAdapter.adapter_id, RunAdapter.name, RunAdapter.weight).order_by(
            RunAdapter.run_id, RunAdapter.position
        )
        return [tuple(row) for row in session.execute(query)]


class TestLorasUsed:
    @pytest.mark.parametrize(
        ("prompts", "batch_size", "used"),
        [
            pytest.param(["a <lora:x:0.5> b <lora:y:1>"], 1, {"x": 0.5, "y": 1.0}, id="in order"),
            pytest.param(["a <lora:x>"], 1, {"x": 1.0}, id="no strength"),
            pytest.param(["<lora:x:0.5:unet=0.2>"], 1, {"x": 0.2}, id="of the denoiser"),
            pytest.param(["<lora:x:0>"], 1, {}, id="strength 0 is skipped"),
            pytest.param(["<lora:x:0.4> <lora:x:0.9>"], 1, {"x": 0.4}, id="twice"),
            pytest.param(["<lora:x:1>", "b"], 2, {"x": 1.0}, id="one set for a batch"),
            pytest.param(
                ["<lora:x:1>", "<lora:y:1>"], 2, {"y": 1.0}, id="the last with tokens wins"
            ),
            pytest.param(["<lora:x:1>", "<lora:y:1>"], 1, {"x": 1.0, "y": 1.0}, id="two batches"),
            pytest.param(["a cat"], 1, {}, id="none"),
        ],
    )
    def test_what_applied(self, prompts, batch_size, used):
        assert loras_used(prompts, batch_size) == used


class TestOurOwnJobs:
    def test_are_recorded_with_their_end(self, home):
        ink = home.adapter("ink_v2")
        body = {"prompt": "a fox <lora:ink_v2:0.7> <lora:nobody:0.2>", **_SMALL, "batch_size": 2}
        answer = home.client.post("/v1/generation/generate", json=body).json()
        (run,) = _runs(home.application.database)
        assert (run.source, run.job_id, run.images) == ("job", answer["job_id"], 2)
        assert run.model == "fake-model"
        assert run.duration_s == answer["generation_info"]["duration_s"]
        assert _adapters(home.application.database) == [
            (ink["id"], "ink_v2", 0.7),
            (None, "nobody", 0.2),
        ]

    def test_that_failed_are_not(self, home):
        home.backend.error = GenerationFailed("no")
        home.client.post("/v1/generation/generate", json={"prompt": "a fox", **_SMALL})
        assert _runs(home.application.database) == []

    def test_that_were_cancelled_are_not(self, home):
        home.backend.gate.clear()
        feed = home.record_feed()
        order = home.client.post(
            "/v1/generation/generate", params={"mode": "deferred"}, json={"prompt": "x", **_SMALL}
        )
        job_id = order.json()["job_id"]
        assert home.backend.started.wait(10)
        assert home.client.post(f"/v1/generation/jobs/{job_id}/cancel").status_code == 200
        feed.wait_for_end(job_id)
        assert _runs(home.application.database) == []


class TestRecorder:
    @pytest.fixture
    def recorder(self, home):
        return home.application.services.get(UsageRecorder)

    def test_writes_what_it_is_told(self, home, recorder):
        alice = home.adapter("alice")
        recorder.record(Run(FROM_UI, 4, {"alice": 0.8}, duration_s=1.5, model="m"))
        recorder.stop()
        (run,) = _runs(home.application.database)
        assert (run.source, run.job_id, run.images, run.duration_s) == ("ui", None, 4, 1.5)
        assert _adapters(home.application.database) == [(alice["id"], "alice", 0.8)]

    def test_a_name_is_what_resolves_before_it_is_a_record(self, home, recorder):
        """Record “ink_v2” (of another file) bears the name by which SD.Next loads `ink.v2`."""
        ink, zebra = home.adapter("ink_v2"), home.adapter("Zebra")
        assert ink["prompt_name"] == "ink_v2"
        for record, name in ((ink, "ink wash"), (zebra, "ink_v2")):
            answer = home.client.patch(f"/v1/adapters/{record['id']}", json={"name": name})
            assert answer.status_code == 200, answer.text
        recorder.record(Run(FROM_UI, 1, {"ink_v2": 1.0}))
        recorder.stop()
        assert _adapters(home.application.database) == [(ink["id"], "ink wash", 1.0)]

    def test_an_adapter_of_two_names_is_recorded_once(self, home, recorder):
        ink = home.adapter("ink_v2")
        home.client.patch(f"/v1/adapters/{ink['id']}", json={"name": "Ink"})
        recorder.record(Run(FROM_UI, 1, {"Ink": 0.4, "ink_v2": 0.9}))
        recorder.stop()
        assert _adapters(home.application.database) == [(ink["id"], "Ink", 0.4)]

    def test_goes_on_after_a_stop(self, home, recorder):
        for _ in range(2):
            recorder.record(Run(FROM_UI, 1))
            recorder.stop()
        assert len(_runs(home.application.database)) == 2

    def test_nobody_waits_for_the_database(self, home, recorder):
        """The hook of a picture calls it: it returns while another holds the database."""
        held, let_go = threading.Event(), threading.Event()

        def _hold():
            with home.application.database.write():
                held.set()
                let_go.wait(10)

        holder = threading.Thread(target=_hold)
        holder.start()
        assert held.wait(10)
        began = time.perf_counter()
        for _ in range(20):
            recorder.record(Run(FROM_UI, 1, {"alice": 1.0}))
        took_s = time.perf_counter() - began
        let_go.set()
        holder.join()
        recorder.stop()
        assert took_s / 20 < 0.005
        assert len(_runs(home.application.database)) == 20

    def test_what_cannot_be_written_stays_for_the_next_try(self, tmp_path, caplog):
        """A database without its tables, then with them."""
        database = Database(f"sqlite:///{(tmp_path / 'late.sqlite3').as_posix()}")
        recorder = UsageRecorder(database, pause_s=0.05)
        try:
            recorder.record(Run(FROM_UI, 3))
            deadline = time.monotonic() + 10
            while "could not be recorded yet" not in caplog.text:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            database.upgrade()
            recorder.stop()
            assert [run.images for run in _runs(database)] == [3]
        finally:
            database.close()
