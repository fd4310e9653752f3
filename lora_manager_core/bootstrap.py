"""The one place where everything is put together; tests give it other parts and patch nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.active_set import ActiveSetService
from lora_manager_core.adapters.lists import AdapterLists
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.backends.base import GenerationBackend, PromptName
from lora_manager_core.backends.diffusers_local import DiffusersBackend
from lora_manager_core.backends.prompt_names import sdnext_prompt_names
from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.bootstrap_archives import add_archives, journals
from lora_manager_core.bootstrap_files import add_changes, add_moves
from lora_manager_core.bootstrap_hashing import add_hashing
from lora_manager_core.bootstrap_recommendations import add_embeddings, add_recommendations
from lora_manager_core.bootstrap_side import add_side_services
from lora_manager_core.collections.service import CollectionService
from lora_manager_core.common.paths import is_inside
from lora_manager_core.common.thumbnails import ThumbnailFolder
from lora_manager_core.compose.injection import InjectionService
from lora_manager_core.compose.schemas import DeliveryRequest, DeliveryStarted
from lora_manager_core.compose.service import ComposeService
from lora_manager_core.compose.translate import PromptTranslator
from lora_manager_core.dashboard.catalogue import Catalogue
from lora_manager_core.dashboard.metrics import MetricsService
from lora_manager_core.dashboard.service import DashboardService
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.deliveries.file_mode import FileMode
from lora_manager_core.deliveries.http_mode import HttpMode
from lora_manager_core.deliveries.service import DeliveryService
from lora_manager_core.deliveries.targets import AllowedTargets
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.embeddings.turns import ComputeTurns
from lora_manager_core.errors import SettingsConflict
from lora_manager_core.feed.base import Feed
from lora_manager_core.feed.memory import MemoryFeed
from lora_manager_core.feed.redis import RedisFeed
from lora_manager_core.generation.delivery_mode import PictureMode
from lora_manager_core.generation.following import FollowingService
from lora_manager_core.generation.jobs import GenerationJob
from lora_manager_core.generation.orders import PictureOrders
from lora_manager_core.generation.pictures import PictureFolder
from lora_manager_core.generation.results import ResultService
from lora_manager_core.generation.reuse import ReuseService
from lora_manager_core.generation.service import GenerationService
from lora_manager_core.generation.sweep import SweepMode
from lora_manager_core.generation.sweep_job import SweepJob
from lora_manager_core.generation.usage import UsageRecorder
from lora_manager_core.import_export.archive_jobs import ArchiveJobs
from lora_manager_core.import_export.backups.schedule import BackupScheduler
from lora_manager_core.import_export.backups.service import BackupService
from lora_manager_core.import_export.exports.service import ExportService
from lora_manager_core.import_export.imports.service import ImportService
from lora_manager_core.import_export.imports.staging import recover_staged
from lora_manager_core.library.files.acts import FileActs
from lora_manager_core.library.files.bin import FileBin
from lora_manager_core.library.hashing.known import KnownHashes
from lora_manager_core.library.hashing.service import HashingService
from lora_manager_core.library.ingest import describe_single_file
from lora_manager_core.library.lookups.civitai import CivitaiProvider
from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.library.service import LibraryService
from lora_manager_core.library.telling import publish_library_change
from lora_manager_core.library.watching.service import LibraryWatch
from lora_manager_core.progress.hub import SocketHub
from lora_manager_core.queueing.base import (
    DELIVERY_LANE,
    EMBEDDING_LANE,
    GPU_LANE,
    HASHING_LANE,
    LIBRARY_LANE,
    NETWORK_LANE,
    JobQueue,
)
from lora_manager_core.queueing.rq import RqQueue
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.threads import ThreadQueue
from lora_manager_core.recommendations.catalogue.warm_up import WarmUp
from lora_manager_core.recommendations.sets.warnings import weight_warnings
from lora_manager_core.recommendations.taste.removals import RemovalWatch
from lora_manager_core.recommendations.taste.sessions import SessionLog
from lora_manager_core.recommendations.vectors.service import VectorService
from lora_manager_core.settings import Settings
from lora_manager_core.stacks.service import StackService
from lora_manager_core.system.device import DeviceMonitor, FirstReading, TorchDevice
from lora_manager_core.system.nvml import NvmlDevice
from lora_manager_core.system.service import SystemService
from lora_manager_core.web.deps import ServiceRegistry
from lora_manager_core.web.keys import ApiKeys


@dataclass(frozen=True, slots=True)
class Parts:
    """What a home brings along instead of the defaults; None means the default."""

    library_roots: Callable[[], Sequence[Path]] | None = None
    backends: Callable[[Database], Sequence[GenerationBackend]] | None = None
    feed: Feed | None = None
    queue: Callable[[JobRunner], JobQueue] | None = None
    device_monitor: DeviceMonitor | None = None
    can_inject: bool = False
    #: A backend here works in this very process, so no other process can make its pictures.
    in_process_backend: bool = False
    turns: ComputeTurns | None = None
    known_hashes: KnownHashes | None = None
    text_tiers: TextTiers | None = None


class Application:
    """A whole manager: its services by type, and its start and stop."""

    def __init__(self, settings: Settings, database: Database, services: ServiceRegistry) -> None:
        self.settings = settings
        self.database = database
        self.services = services

    def start(self, scan: bool = False) -> None:
        """Bring the schema up to date and begin to work; may be repeated.

        With `scan`, as servers want it, the library is scanned and watched, and backups keep
        their schedule.
        """
        self.database.upgrade()
        self.services.get(Feed).start()  # type: ignore[type-abstract]
        self.services.get(ResultService).remove_leftovers()
        self.services.get(BackupService).remove_leftovers()
        self.services.get(ExportService).remove_leftovers()
        self.services.get(ImportService).remove_leftovers()
        self.services.get(FileActs).recover()
        self.services.get(FileBin).remove_leftovers()
        recover_staged(journals(self.settings), self.services.get(ArchiveJobs).state)
        self.services.get(Jobs).start()
        library = self.services.get(LibraryService)
        if scan:
            self.services.get(LibraryWatch).start()  # before the scan, so that nothing is missed
        if scan and library.has_roots:
            library.start_scan()
        if scan:
            self.services.get(BackupScheduler).start()
            self.services.get(WarmUp).start()

    def stop(self) -> None:
        """Stop working and give everything back; what is unfinished goes on at the next start."""
        self.services.get(LibraryWatch).stop()
        self.services.get(BackupScheduler).stop()
        self.services.get(WarmUp).stop()
        self.services.get(Jobs).stop()
        self.services.get(TextTiers).close()
        self.services.get(CivitaiProvider).close()
        self.services.get(BackendRegistry).close()
        self.services.get(UsageRecorder).stop()
        self.services.get(SessionLog).stop()
        self.services.get(Feed).stop()  # type: ignore[type-abstract]
        self.database.close()


def build_application(settings: Settings, parts: Parts | None = None) -> Application:
    """Everything wired, nothing started."""
    parts = parts or Parts()
    roots = partial(
        _all_roots,
        parts.library_roots or (lambda: settings.library_roots),
        settings.import_path,
    )
    database = Database(settings.database)
    feed = parts.feed or _feed(settings)
    runner = JobRunner(database, feed)
    queue = parts.queue(runner) if parts.queue else _queue(settings, parts, runner)
    jobs = Jobs(database, queue, feed, runner)
    make_backends = parts.backends or partial(_stand_alone_backends, settings)
    backends = BackendRegistry(make_backends(database))

    services = ServiceRegistry()
    services.add(database)
    services.add(settings)
    services.add(jobs)
    services.add(feed, Feed)
    services.add(backends)
    services.add(ApiKeys(database, settings.api_key))
    services.add(SocketHub(feed))
    removals = RemovalWatch()
    adapters = services.add(
        AdapterService(database, roots, partial(describe_single_file, roots), removals)
    )
    add_changes(services, roots, removals)
    active_set = ActiveSetService(database, removals)
    services.add(CollectionService(database))
    services.add(StackService(database, active_set))
    services.add(AdapterLists(database))
    scan = services.add(
        LibraryScan(
            database,
            roots,
            partial(_prompt_names, backends),
            skip=[settings.data_dir],
            on_change=partial(_library_changed, services),
        )
    )
    watch = services.add(
        LibraryWatch(database, scan, roots, skip=[settings.data_dir], enabled=settings.watch)
    )
    hashing = add_hashing(services, runner, roots, parts.turns, parts.known_hashes)
    services.add(
        LibraryService(
            database,
            jobs,
            runner,
            adapters,
            scan,
            hashing,
            watch,
            roots,
            on_scanned=partial(_catch_up, services),
        )
    )
    add_moves(services, runner, scan, roots)
    add_embeddings(services, runner, queue, parts.turns, parts.text_tiers)
    loaded_base_model = partial(_loaded_base_model, backends)
    services.add(InjectionService(database, parts.can_inject))
    translator = services.add(PromptTranslator(database))
    pictures = services.add(PictureFolder(settings.outputs))
    orders = PictureOrders(backends, queue)
    modes = [
        PictureMode(orders, pictures),
        SweepMode(database, runner, orders, pictures, SweepJob(backends, translator, pictures)),
        HttpMode(runner, AllowedTargets(settings.http_targets)),
        FileMode(runner, settings.outbox),
    ]
    deliveries = services.add(DeliveryService(database, jobs, modes))
    compose = services.add(
        ComposeService(
            database,
            loaded_base_model,
            partial(_open_delivery, deliveries),
            weight_warnings,
        )
    )
    services.add(UsageRecorder(database))
    job = GenerationJob(backends, translator, pictures)
    catalogue = Catalogue(database)
    system = services.add(
        SystemService(
            database,
            jobs,
            backends,
            parts.device_monitor or FirstReading([TorchDevice(), NvmlDevice()]),
            partial(_folders, settings, roots),
            catalogue.importer,
        )
    )
    services.add(DashboardService(database, catalogue, system))
    services.add(MetricsService(database, catalogue, system))
    services.add(
        GenerationService(
            database, jobs, runner, backends, compose, job, pictures, orders, deliveries
        )
    )
    services.add(FollowingService(database, jobs, feed))
    add_recommendations(services, roots, active_set, loaded_base_model)
    thumbnails = ThumbnailFolder(settings.data_dir / "thumbnails")
    results = services.add(ResultService(database, pictures, thumbnails))
    add_side_services(services, runner, roots, thumbnails)
    services.add(ReuseService(results, active_set))
    add_archives(services, runner, queue, roots, pictures)
    return Application(settings, database, services)


def _catch_up(services: ServiceRegistry) -> None:
    """Have computed what new and changed files need."""
    services.get(HashingService).catch_up()
    services.get(VectorService).catch_up()


def _all_roots(configured: Callable[[], Sequence[Path]], import_path: Path) -> list[Path]:
    """The library folders: the configured ones, and that of imports once it is there."""
    roots = list(configured())
    path = import_path.absolute()
    if path.is_dir() and not any(is_inside(path, root) for root in roots):
        roots.append(path)
    return roots


def _folders(settings: Settings, roots: Callable[[], Sequence[Path]]) -> list[tuple[str, Path]]:
    """The folders whose disks the status tells of, by what they are for."""
    return [
        ("data", settings.data_dir),
        ("outputs", settings.outputs),
        *(("library", root) for root in roots()),
    ]


def _library_changed(services: ServiceRegistry, report: Mapping[str, Any]) -> None:
    """The page hears of it, and what new and changed files need is computed."""
    publish_library_change(services.get(Feed), report)  # type: ignore[type-abstract]
    _catch_up(services)


def _feed(settings: Settings) -> Feed:
    return RedisFeed(settings.redis_url) if settings.redis_url else MemoryFeed()


def _open_delivery(
    deliveries: DeliveryService, session: WriteSession, prompt: str, request: DeliveryRequest
) -> DeliveryStarted:
    job = deliveries.open(session, prompt, request.mode, request.params)
    return DeliveryStarted(id=job.id, status=job.status)


def _queue(settings: Settings, parts: Parts, runner: JobRunner) -> JobQueue:
    if not settings.redis_url:
        return ThreadQueue(runner, lane_sizes(settings))
    if parts.in_process_backend:
        raise SettingsConflict(
            "Inside SD.Next the pictures are made in this process, but LORA_MANAGER_REDIS_URL is "
            "set, which leaves them to worker processes. Unset LORA_MANAGER_REDIS_URL (or remove "
            "redis_url from config.toml) and restart."
        )
    return RqQueue(settings.redis_url, runner)


def lane_sizes(settings: Settings) -> dict[str, int]:
    """How many jobs of each lane one process runs at once."""
    return {
        GPU_LANE: settings.gpu_workers,
        LIBRARY_LANE: settings.library_workers,
        DELIVERY_LANE: settings.delivery_workers,
        EMBEDDING_LANE: 1,
        NETWORK_LANE: 1,
        HASHING_LANE: 1,
    }


def _stand_alone_backends(settings: Settings, database: Database) -> list[GenerationBackend]:
    backends: list[GenerationBackend] = []
    if settings.sdnext_url:
        # Here, because httpx would cost every start a sixth of its time.
        from lora_manager_core.backends.sdnext_http import SdnextHttpBackend

        backends.append(
            SdnextHttpBackend(settings.sdnext_url, settings.sdnext_user, settings.sdnext_password)
        )
    backends.append(DiffusersBackend(settings.diffusers_model, partial(_file_of, database)))
    return backends


def _file_of(database: Database, prompt_name: str) -> Path | None:
    with database.read() as session:
        path = Adapters(session).file_of_prompt_name(prompt_name)
    return Path(path) if path else None


def _prompt_names(backends: BackendRegistry, files: Sequence[Path]) -> dict[Path, PromptName]:
    if backends.default_name is None:
        return dict(sdnext_prompt_names(files, None))
    return dict(backends.get(None).prompt_names(files))


def _loaded_base_model(backends: BackendRegistry) -> str | None:
    status = backends.last_status()
    return status.architecture if status is not None and status.available else None
