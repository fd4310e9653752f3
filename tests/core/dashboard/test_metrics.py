"""`/metrics`: what Prometheus reads is what the other routes say."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.common.clock import utc_after
from lora_manager_core.dashboard.catalogue import Catalogue
from lora_manager_core.dashboard.metrics import MetricsService
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.queueing.base import GPU_LANE
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobWriter
from lora_manager_core.system.device import DeviceReading, NoReading
from lora_manager_core.system.service import SystemService
from tests.fakes.backend import FakeBackend
from tests.fakes.devices import FakeDevice
from tests.fakes.queue import FakeQueue
from tests.fakes.runs import add_run

_PREFIX = "lora_manager_"


def _samples(text: str) -> dict[tuple[str, ...], float]:
    """Name without prefix, then the labels' values by the labels' names → value."""
    return {
        (sample.name.removeprefix(_PREFIX), *(text for _, text in sorted(sample.labels.items()))): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _scrape(home) -> dict[tuple[str, ...], float]:
    answer = home.client.get("/v1/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return _samples(answer.text)


class TestOverHttp:
    def test_says_what_the_other_routes_say(self, home):
        home.client.post(f"/v1/adapters/{home.adapter('alice')['id']}/activate")
        (home.library / "styles" / "Zebra.safetensors").unlink()
        home.scan()
        stats = home.client.get("/v1/dashboard/stats").json()
        scraped = _scrape(home)
        assert scraped["adapters",] == stats["stats"]["total_loras"] == 3
        assert scraped["adapters_active",] == stats["stats"]["active_loras"] == 1
        assert scraped["adapters_missing",] == 1
        library_bytes = stats["system_health"]["storage_usage"]["library_bytes"]
        assert scraped["library_bytes",] == library_bytes
        assert scraped["jobs", "library.scan", "succeeded"] >= 2
        assert scraped["queue_jobs", "waiting"] == 0
        assert scraped["queue_eta_seconds",] == 0
        assert scraped["workers", GPU_LANE] == 1
        assert scraped["sdnext_available",] == 1
        for disk in stats["system_health"]["storage_usage"]["disks"]:
            assert scraped["disk_size_bytes", disk["path"], disk["role"]] == disk["total_bytes"]
        assert scraped["process_resident_memory_bytes",] > 10_000_000

    def test_counts_generations_by_who_asked(self, home):
        database = home.application.database
        add_run(database, utc_after(-400 * 24 * 3600), images=4, duration_s=3.0)
        add_run(database, utc_after(-60), images=2, duration_s=None)
        add_run(database, utc_after(-60), images=1, duration_s=1.5, source="ui")
        scraped = _scrape(home)
        assert scraped["generation_runs_total", "job"] == 2
        assert scraped["generation_images_total", "job"] == 6
        assert scraped["generation_duration_seconds_count", "job"] == 1
        assert scraped["generation_duration_seconds_sum", "job"] == 3.0
        assert scraped["generation_runs_total", "ui"] == 1

    def test_is_guarded(self, make_home):
        key = "a-long-enough-key"
        home = make_home(api_key=key)
        assert home.client.get("/v1/metrics").status_code == 401
        assert home.client.get("/v1/metrics", headers={"X-API-Key": key}).status_code == 200


class TestAbsentFigures:
    def _scrape(self, database, device, queue) -> dict[tuple[str, ...], float]:
        feed = MemoryFeed()
        jobs = Jobs(database, queue, feed, JobRunner(database, feed))
        catalogue = Catalogue(database)
        system = SystemService(
            database,
            jobs,
            BackendRegistry([FakeBackend("diffusers")]),
            FakeDevice(device),
            lambda: [("data", Path.cwd())],
            catalogue.importer,
        )
        text, _ = MetricsService(database, catalogue, system).exposition()
        return _samples(text.decode())

    def test_a_gpu_is_there_if_it_can_be_read(self, database):
        scraped = self._scrape(database, DeviceReading("Card", 3, 8), FakeQueue())
        assert scraped["gpu_memory_used_bytes", "Card"] == 3
        assert scraped["gpu_memory_size_bytes", "Card"] == 8
        assert ("gpu_utilisation_ratio", "Card") not in scraped

    def test_and_absent_if_not(self, database):
        names = {name for name, *_ in self._scrape(database, NoReading("None."), FakeQueue())}
        assert not {name for name in names if name.startswith("gpu_")}
        assert "sdnext_available" not in names

    def test_an_unknown_time_is_absent(self, database):
        with database.write() as session:
            JobWriter(session).create("picture", GPU_LANE, {})
        scraped = self._scrape(database, NoReading("None."), FakeQueue([GPU_LANE]))
        assert scraped["queue_jobs", "waiting"] == 1
        assert ("queue_eta_seconds",) not in scraped


@pytest.mark.parametrize("word", ["runs", "images"])
def test_what_only_grows_is_a_counter(home, word):
    text = home.client.get("/v1/metrics").text
    assert f"# TYPE lora_manager_generation_{word}_total counter" in text
