"""`/system/status`: every figure from its source, every null with its reason."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from lora_manager_core.backends.base import BackendStatus, GenerationBackend
from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import GPU_LANE, JobQueue
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobWriter
from lora_manager_core.system.device import DeviceMonitor, DeviceReading, NoReading
from lora_manager_core.system.machine import ProcessorLoad, read_disk
from lora_manager_core.system.schemas import ImporterState, SystemStatus
from lora_manager_core.system.service import SystemService
from tests.fakes.backend import FakeBackend
from tests.fakes.devices import FakeDevice
from tests.fakes.queue import FakeQueue

_CARD = FakeDevice(DeviceReading("Card", 3_000, 8_000, 0.5))
_IMPORTER = ImporterState(
    scanning_job_id=None,
    progress=None,
    message=None,
    last_scan=None,
    total=0,
    missing=0,
    unreadable=0,
)

MakeSystem = Callable[..., SystemService]


@pytest.fixture
def make_system(database: Database, tmp_path: Path) -> Iterator[MakeSystem]:
    """Builds the service over fakes, with its jobs started unless it is told not to."""
    started: list[Jobs] = []

    def _make(
        device: DeviceMonitor = _CARD,
        queue: JobQueue | None = None,
        backends: tuple[GenerationBackend, ...] = (FakeBackend(),),
        folders: tuple[tuple[str, Path], ...] = (("data", tmp_path),),
        start: bool = True,
    ) -> SystemService:
        feed = MemoryFeed()
        jobs = Jobs(database, queue or FakeQueue([GPU_LANE]), feed, JobRunner(database, feed))
        if start:
            jobs.start()
            started.append(jobs)
        return SystemService(
            database, jobs, BackendRegistry(backends), device, lambda: folders, lambda: _IMPORTER
        )

    yield _make
    for jobs in started:
        jobs.stop()


class TestOverHttp:
    def test_answers_with_every_field_from_its_source(self, home):
        answer = home.client.get("/v1/system/status").json()
        SystemStatus.model_validate(answer, strict=True)
        assert answer["status"] == "ready", answer["warnings"]
        assert (answer["backend"], answer["queue_length"]) == ("sdnext", 0)
        assert answer["queue_eta_seconds"] == 0
        lanes = [worker["lanes"] for worker in answer["queue"]["workers"]]
        assert answer["active_workers"] == len(lanes)
        assert [GPU_LANE] in lanes
        assert answer["metrics"]["ram_total"] == psutil.virtual_memory().total
        assert answer["metrics"]["cpu_count"] == os.cpu_count()
        assert 10_000_000 < answer["metrics"]["process_memory"] < answer["metrics"]["ram_total"]
        assert [disk["role"] for disk in answer["metrics"]["disks"]] == [
            "data",
            "outputs",
            "library",
        ]
        assert answer["sdnext"] == {
            "configured": True,
            "available": True,
            "reason": None,
            "model": "fake-model",
            "base_model": "SD 1.5",
        }

    def test_a_machine_whose_gpu_nobody_can_read_says_so(self, home):
        answer = home.client.get("/v1/system/status").json()
        if answer["gpu_status"] == "ok":
            assert 0 < answer["memory_used"] <= answer["memory_total"]
            return
        assert (answer["gpu_available"], answer["memory_used"]) == (None, None)
        assert "NVIDIA" in answer["reasons"]["memory_used"]
        assert answer["reasons"]["gpu_available"] == answer["reasons"]["memory_used"]

    def test_tells_of_the_last_scan_and_of_a_running_one(self, home):
        (home.library / "styles" / "Zebra.safetensors").unlink()
        home.scan()
        importer = home.client.get("/v1/system/status").json()["importer"]
        assert (importer["total"], importer["missing"]) == (3, 1)
        assert importer["last_scan"]["missing"] == 1
        assert importer["last_scan"]["finished_at"]
        assert (importer["scanning_job_id"], importer["progress"]) == (None, None)
        with home.application.database.write() as session:
            job = JobWriter(session).create("library.scan", "nowhere", {})
            job.progress, job.message = 0.25, "Reading"
        importer = home.client.get("/v1/system/status").json()["importer"]
        assert (importer["scanning_job_id"], importer["progress"]) == (job.id, 0.25)
        assert importer["message"] == "Reading"

    def test_tells_how_long_the_queue_will_take(self, home):
        order = {"prompt": "a fox", "steps": 2, "width": 64, "height": 64}
        url = "/v1/generation/generate"
        assert home.client.post(url, json=order).status_code == 200
        home.backend.gate.clear()
        home.backend.started.clear()
        try:
            for _ in range(3):
                home.client.post(url, params={"mode": "deferred"}, json=order)
            assert home.backend.started.wait(20)
            answer = home.client.get("/v1/system/status").json()
        finally:
            home.backend.gate.set()
        assert (answer["queue_length"], answer["queue"]["running"]) == (2, 1)
        assert answer["queue_eta_seconds"] > 0

    def test_is_guarded(self, make_home):
        home = make_home(api_key="a-long-enough-key")
        assert home.client.get("/v1/system/status").status_code == 401


class TestGpu:
    def test_is_read(self, make_system):
        status = make_system().status()
        assert (status.gpu_available, status.gpu_status) == (True, "ok")
        assert (status.memory_used, status.memory_total) == (3_000, 8_000)
        assert (status.metrics.gpu_name, status.metrics.gpu_utilisation) == ("Card", 0.5)
        assert "memory_used" not in status.reasons

    def test_is_certainly_not_there(self, make_system):
        status = make_system(FakeDevice(NoReading("Runs on the CPU.", absent=True))).status()
        assert (status.gpu_available, status.gpu_status) == (False, "none")
        assert "gpu_available" not in status.reasons
        assert status.reasons["memory_total"] == "Runs on the CPU."

    def test_may_be_there(self, make_system):
        status = make_system(FakeDevice(NoReading("Nobody knows."))).status()
        assert (status.gpu_available, status.gpu_status) == (None, "unknown")
        assert status.reasons["gpu_available"] == "Nobody knows."

    def test_may_not_tell_how_busy_it_is(self, make_system):
        status = make_system(FakeDevice(DeviceReading("Card", 1, 2))).status()
        assert status.metrics.gpu_utilisation is None
        assert status.reasons["metrics.gpu_utilisation"]


class TestWord:
    def test_ready(self, make_system):
        status = make_system().status()
        assert (status.status, status.warnings) == ("ready", [])

    def test_starting_until_jobs_are_looked_after(self, make_system):
        assert make_system(start=False).status().status == "starting"

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            pytest.param(
                {"backends": (FakeBackend("sdnext", BackendStatus("sdnext", False, "No model.")),)},
                "No model.",
                id="backend",
            ),
            pytest.param({"backends": ()}, "No backend is set up", id="no backend"),
            pytest.param({"queue": FakeQueue([], "Redis is gone.")}, "Redis is gone.", id="queue"),
            pytest.param(
                {"folders": (("library", Path("/nowhere")),)}, "is not there", id="library"
            ),
        ],
    )
    def test_degraded_and_why(self, make_system, given: dict[str, Any], says):
        status = make_system(**given).status()
        assert status.status == "degraded"
        assert says in status.warnings[0]
        assert len(status.warnings) == 1

    def test_degraded_when_jobs_wait_and_nobody_works(self, make_system, database):
        with database.write() as session:
            JobWriter(session).create("picture", GPU_LANE, {})
        status = make_system(queue=FakeQueue([])).status()
        assert (status.status, status.queue_eta_seconds) == ("degraded", None)
        assert status.reasons["queue_eta_seconds"]
        assert status.warnings == ["1 jobs wait, and there is no worker; start one."]

    def test_error_when_the_database_cannot_be_read(self, make_system, database):
        system = make_system(start=False)
        with database.write() as session:
            session.execute(text("ALTER TABLE jobs RENAME TO lost"))
        status = system.status()
        assert status.status == "error"
        assert (status.queue, status.queue_length, status.importer) == (None, None, None)
        for field in ("queue", "queue_length", "queue_eta_seconds", "active_workers", "importer"):
            assert "database" in status.reasons[field]
        assert status.memory_used == 3_000

    def test_no_sdnext_is_not_made_up(self, make_system):
        sdnext = make_system(backends=(FakeBackend("diffusers"),)).status().sdnext
        assert (sdnext.configured, sdnext.available) == (False, None)
        assert "SDNEXT_URL" in str(sdnext.reason)


class TestProcessors:
    def test_the_first_look_has_nothing_to_compare_with(self, make_system):
        status = make_system().status()
        assert status.metrics.cpu_load is None
        assert status.reasons["metrics.cpu_load"]

    def test_a_later_one_tells_the_share_in_use(self):
        processors = ProcessorLoad()
        load = processors.read()
        assert load is None
        deadline = time.monotonic() + 20
        while load is None and time.monotonic() < deadline:
            load = processors.read()
        assert load is not None
        assert 0.0 < load <= 1.0  # this very loop keeps one of them busy


class TestDisks:
    def test_a_folder_that_is_not_there_yet_has_its_parents_disk(self, tmp_path):
        disk = read_disk("outputs", tmp_path / "not" / "yet")
        assert disk.total_bytes == psutil.disk_usage(str(tmp_path)).total
        assert disk.free_bytes is not None
        assert disk.reason is None

    def test_one_that_cannot_be_read_has_a_reason(self, tmp_path):
        disk = read_disk("outputs", tmp_path / ("x" * 5000) / "y")
        if disk.reason is None:  # a Python that takes such a name for one that is not there
            assert disk.total_bytes == psutil.disk_usage(str(tmp_path)).total
        else:
            assert (disk.free_bytes, disk.total_bytes) == (None, None)
