"""The one place where everything is put together; tests give it other parts and patch nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lora_manager_core.adapters.active_set import ActiveSetService
from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.backends.base import GenerationBackend, PromptName
from lora_manager_core.backends.diffusers_local import DiffusersBackend
from lora_manager_core.backends.prompt_names import sdnext_prompt_names
from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.common.paths import is_inside
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
from lora_manager_core.embeddings.local_turns import LocalTurns
from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import PrecisionMemory
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.embeddings.static import StaticEmbedder
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
from lora_manager_core.generation.thumbnails import ThumbnailFolder
from lora_manager_core.generation.usage import UsageRecorder
from lora_manager_core.import_export.archive_jobs import ArchiveJobs
from lora_manager_core.import_export.backups.folder import BackupFolder
from lora_manager_core.import_export.backups.job import BackupJob
from lora_manager_core.import_export.backups.maker import BackupMaker
from lora_manager_core.import_export.backups.restore_job import RestoreJob
from lora_manager_core.import_export.backups.restoring import RestoreService
from lora_manager_core.import_export.backups.schedule import BackupScheduler, ScheduleService
from lora_manager_core.import_export.backups.service import BackupService
from lora_manager_core.import_export.exports.archive_writer import ArchiveWriter
from lora_manager_core.import_export.exports.folder import ExportFolder
from lora_manager_core.import_export.exports.service import ExportService
from lora_manager_core.import_export.exports.snapshot import Snapshots
from lora_manager_core.import_export.imports.importer import Importer
from lora_manager_core.import_export.imports.job import ImportJob
from lora_manager_core.import_export.imports.service import ImportService
from lora_manager_core.import_export.imports.staging import recover_staged
from lora_manager_core.import_export.imports.taking_in import TakingIn
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.library.ingest import describe_single_file
from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.library.service import LibraryService
from lora_manager_core.progress.hub import SocketHub
from lora_manager_core.queueing.base import (
    DELIVERY_LANE,
    EMBEDDING_LANE,
    GPU_LANE,
    LIBRARY_LANE,
    JobQueue,
)
from lora_manager_core.queueing.rq import RqQueue
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.threads import ThreadQueue
from lora_manager_core.queueing.waiting import JobWaiting
from lora_manager_core.recommendations.answers.queries import QueryVectors
from lora_manager_core.recommendations.answers.service import RecommendationService
from lora_manager_core.recommendations.answers.status import RecommendationStatus
from lora_manager_core.recommendations.answers.times import AnswerTimes
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.sets.compatibility import CompatibilityService
from lora_manager_core.recommendations.sets.duplicates import DuplicatesService
from lora_manager_core.recommendations.sets.service import SetService
from lora_manager_core.recommendations.sets.warnings import weight_warnings
from lora_manager_core.recommendations.taste.feedback import FeedbackService
from lora_manager_core.recommendations.taste.preferences import PreferenceService
from lora_manager_core.recommendations.taste.removals import RemovalWatch
from lora_manager_core.recommendations.taste.scores import Taste
from lora_manager_core.recommendations.taste.sessions import SessionLog
from lora_manager_core.recommendations.vectors.embeddings import EmbeddingService
from lora_manager_core.recommendations.vectors.jobs import VectorJob
from lora_manager_core.recommendations.vectors.service import VectorService
from lora_manager_core.recommendations.vectors.sketch_job import SketchJob
from lora_manager_core.recommendations.vectors.text_job import TextJob
from lora_manager_core.recommendations.vectors.word_vectors_job import WordVectorsJob
from lora_manager_core.settings import Settings
from lora_manager_core.system.device import DeviceMonitor, FirstReading, TorchDevice
from lora_manager_core.system.nvml import NvmlDevice
from lora_manager_core.system.service import SystemService
from lora_manager_core.web.deps import ServiceRegistry
from lora_manager_core.web.keys import ApiKeys
from lora_manager_core.web.uploads import UploadFolder


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
    text_tiers: TextTiers | None = None


class Application:
    """A whole manager: its services by type, and its start and stop."""

    def __init__(self, settings: Settings, database: Database, services: ServiceRegistry) -> None:
        self.settings = settings
        self.database = database
        self.services = services

    def start(self, scan: bool = False) -> None:
        """Bring the schema up to date and begin to work; may be repeated.

        With `scan`, as servers want it, the library is scanned and backups keep their schedule.
        """
        self.database.upgrade()
        self.services.get(Feed).start()  # type: ignore[type-abstract]
        self.services.get(ResultService).remove_leftovers()
        self.services.get(BackupService).remove_leftovers()
        self.services.get(ExportService).remove_leftovers()
        self.services.get(ImportService).remove_leftovers()
        recover_staged(_journals(self.settings), self.services.get(ArchiveJobs).state)
        self.services.get(Jobs).start()
        library = self.services.get(LibraryService)
        if scan and library.has_roots:
            library.start_scan()
        if scan:
            self.services.get(BackupScheduler).start()

    def stop(self) -> None:
        """Stop working and give everything back; what is unfinished goes on at the next start."""
        self.services.get(BackupScheduler).stop()
        self.services.get(Jobs).stop()
        self.services.get(TextTiers).close()
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
    active_set = ActiveSetService(database, removals)
    scan = LibraryScan(database, roots, partial(_prompt_names, backends))
    library = services.add(
        LibraryService(
            database,
            jobs,
            runner,
            adapters,
            scan,
            roots,
            on_scanned=lambda: services.get(VectorService).catch_up(),
        )
    )
    _add_embeddings(services, settings, parts, runner, queue)
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
            lambda: _loaded_base_model(backends),
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
    sessions = services.add(SessionLog(database))
    taste = services.add(Taste(database))
    services.add(FeedbackService(database, sessions))
    services.add(PreferenceService(database, taste))
    _add_answers(services, backends)
    index, queries = services.get(CatalogueIndex), services.get(QueryVectors)
    compatibility = services.add(CompatibilityService(database, roots))
    services.add(DuplicatesService(database, index))
    services.add(
        SetService(
            database,
            index,
            services.get(TextTiers),
            taste,
            queries,
            sessions,
            compatibility,
            active_set,
            lambda: _loaded_base_model(backends),
        )
    )
    thumbnails = ThumbnailFolder(settings.data_dir / "thumbnails")
    results = services.add(ResultService(database, pictures, thumbnails))
    unfinished = settings.data_dir / "unfinished"
    snapshots = Snapshots(database, roots, settings.outputs, settings.without_secrets, unfinished)
    writer = services.add(ArchiveWriter(snapshots))
    services.add(ReuseService(results, active_set))
    secrets = services.add(Secrets(settings.data_dir / "secrets"))
    exports = ExportFolder(settings.data_dir / "exports")
    services.add(ExportService(database, jobs, runner, feed, writer, exports, secrets))
    archive_jobs = services.add(ArchiveJobs(database, jobs, queue))
    backups = BackupFolder(settings.data_dir / "backups")
    maker = services.add(BackupMaker(writer, snapshots, backups))
    backup_job = services.add(BackupJob(maker, backups, secrets))
    services.add(
        BackupService(
            database, jobs, runner, archive_jobs, backup_job, backups, secrets, unfinished
        )
    )
    importer = services.add(
        Importer(database, roots, settings.import_path, pictures, settings.data_dir)
    )
    uploads = services.add(UploadFolder(settings.data_dir / "uploads"))
    journals = _journals(settings)
    taking_in = TakingIn(importer, library, journals)
    import_job = ImportJob(importer, uploads, secrets, taking_in, maker.before, journals)
    services.add(
        ImportService(database, jobs, runner, feed, archive_jobs, import_job, uploads, secrets)
    )
    restore_job = services.add(RestoreJob(importer, taking_in, maker, backups, secrets, journals))
    services.add(
        RestoreService(database, jobs, runner, archive_jobs, restore_job, backups, secrets)
    )
    schedule = services.add(
        ScheduleService(database, jobs, backups, settings.backup_every_h, settings.backup_keep)
    )
    services.add(BackupScheduler(schedule))
    return Application(settings, database, services)


def _add_embeddings(
    services: ServiceRegistry, settings: Settings, parts: Parts, runner: JobRunner, queue: JobQueue
) -> None:
    """The text models, and the jobs and answers about embeddings."""
    database, jobs = services.get(Database), services.get(Jobs)
    turns = parts.turns or LocalTurns(partial(runner.runs, GPU_LANE))
    folder = settings.data_dir / "models"
    model = SentenceEmbedder(ModelFiles(settings.embedding_model), PrecisionMemory(folder))
    static = StaticEmbedder(folder, model)
    tiers = services.add(parts.text_tiers or TextTiers(model, static))
    text_job = TextJob(database, tiers, turns)
    sketch_job = SketchJob(database, turns)
    kinds: list[VectorJob] = [text_job, sketch_job]
    if parts.text_tiers is None:
        kinds.append(WordVectorsJob(database, model, static, turns))
    vectors = services.add(VectorService(database, jobs, runner, kinds, settings.auto_embed))
    waiting = JobWaiting(jobs, queue, EMBEDDING_LANE, "Embedding job failed")
    services.add(
        EmbeddingService(
            database, vectors, waiting, tiers, {"text": text_job, "weights": sketch_job}
        )
    )


def _add_answers(services: ServiceRegistry, backends: BackendRegistry) -> None:
    """What recommends adapters, and tells how well."""
    database, tiers = services.get(Database), services.get(TextTiers)
    index = services.add(CatalogueIndex(database, tiers, services.get(VectorService).catch_up))
    times, queries = AnswerTimes(), services.add(QueryVectors())
    services.add(
        RecommendationService(
            database,
            index,
            tiers,
            services.get(Taste),
            services.get(SessionLog),
            lambda: _loaded_base_model(backends),
            times,
            queries,
        )
    )
    services.add(RecommendationStatus(database, index, tiers, times, queries))


def _all_roots(configured: Callable[[], Sequence[Path]], import_path: Path) -> list[Path]:
    """The library folders: the configured ones, and that of imports once it is there."""
    roots = list(configured())
    path = import_path.absolute()
    if path.is_dir() and not any(is_inside(path, root) for root in roots):
        roots.append(path)
    return roots


def _journals(settings: Settings) -> Path:
    """Where jobs note which files they move."""
    return settings.data_dir / "journals"


def _folders(settings: Settings, roots: Callable[[], Sequence[Path]]) -> list[tuple[str, Path]]:
    """The folders whose disks the status tells of, by what they are for."""
    return [
        ("data", settings.data_dir),
        ("outputs", settings.outputs),
        *(("library", root) for root in roots()),
    ]


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
