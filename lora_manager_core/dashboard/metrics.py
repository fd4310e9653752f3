"""All figures for Prometheus, from the sources of the other routes, collected when asked for.

Names follow its naming rules: base units, `_total` for counters only. A figure that cannot be read
is left out rather than given as zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lora_manager_core import __version__
from lora_manager_core.common.kept import Kept
from lora_manager_core.dashboard.catalogue import Catalogue
from lora_manager_core.dashboard.repository import DashboardRecords
from lora_manager_core.dashboard.usage_repository import RunSums, UsageRecords
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.system.schemas import Disk, QueueState, SdnextState, SystemStatus
from lora_manager_core.system.service import SystemService

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_PREFIX = "lora_manager_"


class MetricsService:
    """The collector of a registry of its own, so that nothing of the process comes in unasked."""

    def __init__(self, database: Database, catalogue: Catalogue, system: SystemService) -> None:
        self._database = database
        self._catalogue = catalogue
        self._system = system
        self._runs: Kept[dict[str, RunSums]] = Kept(most=1)

    def exposition(self) -> tuple[bytes, str]:
        """The text, and its media type."""
        # Here, because it would cost every start as much as the whole queue.
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    def describe(self) -> list[Metric]:
        """Nothing ahead of time: registering must not read anything."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read everything now."""
        status = self._system.status()
        counts = self._catalogue.counts()
        with self._database.read() as session:
            jobs = JobStore(session).count_by_kind()
            state = DashboardRecords(session).state()
            runs = self._runs.get(state, UsageRecords(session).by_source)
        yield _gauge("info", "Version of the LoRA Manager.", [((__version__,), 1)], "version")
        yield _gauge("adapters", "Adapters in the catalogue.", counts.total)
        yield _gauge("adapters_active", "Adapters in the active set.", counts.active)
        yield _gauge("adapters_missing", "Adapters whose file is gone.", counts.missing)
        yield _gauge(
            "adapters_unreadable", "Adapters whose file cannot be read.", counts.unreadable
        )
        yield _gauge("library_bytes", "Sizes of all adapters' files.", counts.file_bytes)
        yield _gauge(
            "jobs",
            "Jobs that are kept, by kind and state.",
            [((kind, state), count) for kind, state, count in jobs],
            "kind",
            "status",
        )
        yield from _machine(status)
        yield from _disks(status.metrics.disks)
        if status.queue is not None:
            yield from _queue(status.queue)
        yield from _backend(status.sdnext)
        yield from _runs(runs)


def _gauge(
    name: str,
    text: str,
    value: float | Iterable[tuple[tuple[str, ...], float]],
    *labels: str,
) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(_PREFIX + name, text, labels=labels)
    samples = value if not isinstance(value, (int, float)) else [((), value)]
    for of, number in samples:
        family.add_metric(of, number)
    return family


def _machine(status: SystemStatus) -> Iterator[Metric]:
    metrics = status.metrics
    yield _gauge(
        "process_resident_memory_bytes", "What this process holds.", metrics.process_memory
    )
    yield _gauge("memory_used_bytes", "Main memory in use.", metrics.ram_used)
    yield _gauge("memory_size_bytes", "Main memory.", metrics.ram_total)
    if metrics.cpu_load is not None:
        yield _gauge("cpu_load_ratio", "Share of the processors in use.", metrics.cpu_load)
    name = (metrics.gpu_name or "",)
    gpu = (
        ("gpu_memory_used_bytes", "The GPU's memory in use.", status.memory_used),
        ("gpu_memory_size_bytes", "The GPU's memory.", status.memory_total),
        ("gpu_utilisation_ratio", "Share of time the GPU computed.", metrics.gpu_utilisation),
    )
    for figure, text, value in gpu:
        if value is not None:
            yield _gauge(figure, text, [(name, value)], "device")


def _disks(disks: Iterable[Disk]) -> Iterator[Metric]:
    read = [disk for disk in disks if disk.reason is None]
    free = [((disk.role, disk.path), float(disk.free_bytes or 0)) for disk in read]
    size = [((disk.role, disk.path), float(disk.total_bytes or 0)) for disk in read]
    yield _gauge("disk_free_bytes", "Free on the disk of this folder.", free, "role", "path")
    yield _gauge("disk_size_bytes", "Size of the disk of this folder.", size, "role", "path")


def _queue(queue: QueueState) -> Iterator[Metric]:
    yield _gauge(
        "queue_jobs",
        "Jobs that wait and that run.",
        [(("waiting",), queue.waiting), (("running",), queue.running)],
        "state",
    )
    if queue.eta_seconds is not None:
        yield _gauge(
            "queue_eta_seconds", "Until the GPU's jobs are done, at past paces.", queue.eta_seconds
        )
    workers = Counter(lane for worker in queue.workers for lane in worker.lanes)
    yield _gauge(
        "workers",
        "Workers that live, by the lane they serve.",
        [((lane,), count) for lane, count in sorted(workers.items())],
        "lane",
    )


def _backend(sdnext: SdnextState) -> Iterator[Metric]:
    if sdnext.available is not None:
        yield _gauge("sdnext_available", "Whether SD.Next can generate.", int(sdnext.available))


def _runs(runs: dict[str, RunSums]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, SummaryMetricFamily

    labels = ("source",)
    count = CounterMetricFamily(
        _PREFIX + "generation_runs_total", "Generations that ran, by who asked.", labels=labels
    )
    images = CounterMetricFamily(
        _PREFIX + "generation_images_total", "Pictures they made.", labels=labels
    )
    durations = SummaryMetricFamily(
        _PREFIX + "generation_duration_seconds",
        "Durations of the generations that were timed.",
        labels=labels,
    )
    for source, sums in sorted(runs.items()):
        count.add_metric((source,), sums.runs)
        images.add_metric((source,), sums.images)
        if sums.timed:
            durations.add_metric((source,), sums.timed, sums.duration_s)
    yield from (count, images, durations)
