"""Puts archives together: exports, imports, backups and what they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.feed.base import Feed
from lora_manager_core.generation.pictures import PictureFolder
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
from lora_manager_core.import_export.imports.taking_in import TakingIn
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.base import (
    JobQueue,
)
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.settings import Settings
from lora_manager_core.web.deps import ServiceRegistry
from lora_manager_core.web.uploads import UploadFolder


def journals(settings: Settings) -> Path:
    """Where jobs note which files they move."""
    return settings.data_dir / "journals"


def add_archives(
    services: ServiceRegistry,
    runner: JobRunner,
    queue: JobQueue,
    roots: Callable[[], Sequence[Path]],
    pictures: PictureFolder,
) -> None:
    """Exports, imports, backups with their schedule, and restores."""
    database, jobs, settings = services.get(Database), services.get(Jobs), services.get(Settings)
    feed = services.get(Feed)  # type: ignore[type-abstract]
    library = services.get(LibraryService)
    unfinished = settings.data_dir / "unfinished"
    snapshots = Snapshots(database, roots, settings.outputs, settings.without_secrets, unfinished)
    writer = services.add(ArchiveWriter(snapshots))
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
    noted = journals(settings)
    taking_in = TakingIn(importer, library, noted)
    import_job = ImportJob(importer, uploads, secrets, taking_in, maker.before, noted)
    services.add(
        ImportService(database, jobs, runner, feed, archive_jobs, import_job, uploads, secrets)
    )
    restore_job = services.add(RestoreJob(importer, taking_in, maker, backups, secrets, noted))
    services.add(
        RestoreService(database, jobs, runner, archive_jobs, restore_job, backups, secrets)
    )
    schedule = services.add(
        ScheduleService(database, jobs, backups, settings.backup_every_h, settings.backup_keep)
    )
    services.add(BackupScheduler(schedule))
