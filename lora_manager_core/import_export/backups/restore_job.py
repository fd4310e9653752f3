"""The job of a restore: checks the backup, keeps the present, and then puts all back or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_manager_core.errors import ArchiveRefused, LoraManagerError
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.archive.reader import open_archive
from lora_manager_core.import_export.backups.folder import BackupFolder
from lora_manager_core.import_export.backups.maker import BEFORE_RESTORE, BackupMaker
from lora_manager_core.import_export.imports.importer import ByteProgress, Importer
from lora_manager_core.import_export.imports.plan import ImportPlan, Wishes
from lora_manager_core.import_export.imports.staging import undo_earlier
from lora_manager_core.import_export.imports.taking_in import TakingIn
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import JobCancelled, JobContext, JobOutcome, JobProgress

#: What the backup of the present takes of the progress, see `BackupMaker.before`.
_BACKUP_SHARE = 0.1


class RestoreJob:
    """Runs one restore; begins anew when it is run again.

    The payload: `backup_id`, or the `path` of a file of this machine; `files`, `backup_before`, and
    perhaps the `secret` of its password.
    """

    def __init__(
        self,
        importer: Importer,
        taking_in: TakingIn,
        maker: BackupMaker,
        folder: BackupFolder,
        secrets: Secrets,
        journals: Path,
    ) -> None:
        self._importer = importer
        self._taking_in = taking_in
        self._maker = maker
        self._folder = folder
        self._secrets = secrets
        self._journals = journals

    def run(self, context: JobContext) -> JobOutcome:
        """The handler; its result has the fields of `schemas.RestoreAnswer` that are its own.

        Raises:
            ArchiveRefused: this is no backup, a damaged one, or of a newer version.
            PasswordNeeded, WrongPassword: it is encrypted.
            DiskFull, StorageFailed: files cannot be written.
            LibraryChanged: the folders changed meanwhile; the job is tried again.
            JobCancelled: the job is to stop.
        """
        token = context.payload.get("secret")
        try:
            undo_earlier(self._journals, context.job_id)
            outcome = self._restore(context, token)
        except JobCancelled:
            raise
        except LoraManagerError as error:
            if not error.may_pass:
                self._forget(token)
            raise
        undo, done = outcome.undo, outcome.done
        assert undo is not None
        assert done is not None

        def _undo() -> None:
            undo()
            self._forget(token)

        def _done() -> None:
            done()
            self._forget(token)

        return JobOutcome(outcome.result, outcome.store, _undo, _done)

    def _restore(self, context: JobContext, token: str | None) -> JobOutcome:
        payload = context.payload
        password = None if token is None else self._secrets.get(token)
        context.report(JobProgress(0.0, message="Reading the backup"))
        archive = self._open(payload, password)
        try:
            _require_restorable(archive)
            wishes = Wishes(
                self._importer.target(None),
                allow_pickles=True,
                restore=True,
                files=payload["files"],
            )
            plan = self._importer.plan(archive, wishes, context.raise_if_cancelled)
            progress = ByteProgress(
                lambda fraction, message: context.report(JobProgress(fraction, message=message)),
                context.raise_if_cancelled,
                plan.bytes_to_write + archive.expanded_bytes,
                _BACKUP_SHARE if payload["backup_before"] else 0.0,
            )
            progress.message = "Checking the backup"
            archive.verify(progress)
            backup_id = None
            if payload["backup_before"]:
                backup_id = self._maker.before(
                    context, BEFORE_RESTORE, plan.replaced, payload.get("backup_id")
                )
            progress.message = "Copying files"
            result = {
                "adapters": len(plan.adapters),
                "files_written": len(plan.writes),
                "tables": dict(plan.tables.rows),
                "backup_id": backup_id,
                "notes": _notes(plan, archive),
            }
            return self._taking_in.outcome(context, archive, plan, progress, result)
        except BaseException:
            archive.close()
            raise

    def _open(self, payload: Any, password: str | None) -> Archive:
        path = (
            Path(payload["path"])
            if payload.get("path")
            else self._folder.file(self._folder.get(payload["backup_id"]))
        )
        try:
            return open_archive(path, password, allow_pickles=True)
        except OSError as error:
            raise ArchiveRefused(
                f"The backup cannot be read: {error.strerror or error}."
            ) from error

    def _forget(self, token: str | None) -> None:
        if token is not None:
            self._secrets.forget(token)


def _require_restorable(archive: Archive) -> None:
    manifest = archive.manifest
    if archive.maker != "lora-manager" or manifest.kind != "backup":
        raise ArchiveRefused(
            "This archive is no backup; a restore would replace everything here by what is in "
            "it. Import it instead."
        )


def _notes(plan: ImportPlan, archive: Archive) -> list[str]:
    """What people should know of it afterwards."""
    notes = []
    missing = sum(not adapter.found for adapter in plan.adapters)
    if missing:
        notes.append(
            f"{missing} model files are neither here nor put back from the backup; their records "
            "are marked as missing."
        )
    if archive.ignored:
        notes.append(f"{len(archive.ignored)} members of the backup were passed over.")
    return notes
