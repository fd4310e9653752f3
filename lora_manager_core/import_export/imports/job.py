"""The job of an import: open the archive, plan, make a backup, stage, and then all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lora_manager_core.errors import ArchiveRefused
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.archive.reader import open_archive
from lora_manager_core.import_export.imports.importer import ByteProgress, Importer
from lora_manager_core.import_export.imports.plan import Wishes
from lora_manager_core.import_export.imports.result import told
from lora_manager_core.import_export.imports.staging import undo_earlier
from lora_manager_core.import_export.imports.taking_in import TakingIn
from lora_manager_core.import_export.schemas import ImportConfig
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import JobContext, JobOutcome, JobProgress
from lora_manager_core.web.uploads import UploadFolder

BEFORE_IMPORT = "before import"
#: What a backup takes of the progress, see `BackupMaker.before`.
_BACKUP_SHARE = 0.1


class BackupBefore(Protocol):
    """Makes a backup of the present, with the files that are about to be replaced."""

    def __call__(self, context: JobContext, reason: str, replaced: Sequence[Path]) -> str:
        """Make it; gives its id."""


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What a job is given: an uploaded archive, or a file of this machine, and how to take it in.

    `secret` is the token of its password.
    """

    config: Mapping[str, Any]
    upload: str | None = None
    path: str | None = None
    secret: str | None = None


class ImportJob:
    """Runs one import; begins anew when it is run again."""

    def __init__(
        self,
        importer: Importer,
        uploads: UploadFolder,
        secrets: Secrets,
        taking_in: TakingIn,
        backup_before: BackupBefore,
        journals: Path,
    ) -> None:
        self._importer = importer
        self._uploads = uploads
        self._secrets = secrets
        self._taking_in = taking_in
        self._backup_before = backup_before
        self._journals = journals

    def run(self, context: JobContext) -> JobOutcome:
        """The handler; its result is an `ImportResult` without the name of the file.

        Raises:
            ArchiveRefused: the archive is damaged, unsafe, or of an unknown kind.
            LibraryChanged: what was planned no longer fits; the job is tried again.
            DiskFull, StorageFailed: files cannot be written.
            JobCancelled: the job is to stop.
        """
        order = ImportOrder(**context.payload)
        config = ImportConfig.model_validate(order.config)
        undo_earlier(self._journals, context.job_id)
        archive = self._open(order, config)
        try:
            return self._take(context, archive, config)
        except BaseException:
            archive.close()
            raise

    def _open(self, order: ImportOrder, config: ImportConfig) -> Archive:
        password = None if order.secret is None else self._secrets.get(order.secret)
        path = self._uploads.path_of(order.upload) if order.upload else Path(order.path or "")
        try:
            return open_archive(path, password, allow_pickles=config.allow_pickles)
        except OSError as error:
            raise ArchiveRefused(
                f"The archive cannot be read: {error.strerror or error}."
            ) from error

    def _take(self, context: JobContext, archive: Archive, config: ImportConfig) -> JobOutcome:
        context.report(JobProgress(0.0, message="Reading the archive"))
        wishes = Wishes.of(config, self._importer.target(config.target))
        plan = self._importer.plan(archive, wishes, context.raise_if_cancelled)
        is_trial = config.mode == "dry-run"
        goes_on = not (is_trial or plan.is_blocked or plan.changes_nothing)
        backup = config.backup_before and goes_on
        total = plan.bytes_to_write if goes_on else 0
        progress = ByteProgress(
            lambda fraction, message: context.report(JobProgress(fraction, message=message)),
            context.raise_if_cancelled,
            total + (archive.expanded_bytes if config.validate_archive else 0),
            _BACKUP_SHARE if backup else 0.0,
        )
        if config.validate_archive:
            progress.message = "Checking the archive"
            archive.verify(progress)
        if not goes_on:
            archive.close()
            is_asked = plan.is_blocked and not is_trial
            status = "validated" if is_trial else "conflicts" if is_asked else "imported"
            return JobOutcome(told(archive, plan, status))
        backup_id = None
        if backup:
            backup_id = self._backup_before(context, BEFORE_IMPORT, plan.replaced)
        progress.message = "Copying files"
        result = told(archive, plan, "imported", backup_id)
        return self._taking_in.outcome(context, archive, plan, progress, result)
