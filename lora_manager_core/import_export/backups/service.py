"""What people do with backups: make, list, download, verify, delete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import BackupNotFound, InvalidRequest, StorageFailed
from lora_manager_core.import_export.archive_jobs import ArchiveJobs
from lora_manager_core.import_export.backups.folder import BackupFolder, StoredBackup
from lora_manager_core.import_export.backups.job import BackupJob
from lora_manager_core.import_export.backups.maker import BY_HAND
from lora_manager_core.import_export.backups.verifying import verify_archive
from lora_manager_core.import_export.job_repository import ArchiveJobStore
from lora_manager_core.import_export.kinds import BACKUP_JOB
from lora_manager_core.import_export.schemas import (
    Backup,
    BackupCreated,
    BackupRequest,
    Verification,
)
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import FAILED, LIBRARY_LANE, SUCCEEDED, UNFINISHED
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs

#: So far back failed ones are listed.
_LOOKED_AT = 500


class BackupService:
    """The backups of this installation. `scratch` is a folder for what is in the making."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        archive_jobs: ArchiveJobs,
        job: BackupJob,
        folder: BackupFolder,
        secrets: Secrets,
        scratch: Path,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._archive_jobs = archive_jobs
        self._folder = folder
        self._secrets = secrets
        self._scratch = scratch
        runner.register(BACKUP_JOB, job.run)

    def create(self, request: BackupRequest) -> BackupCreated:
        """Make a backup and wait for it, or begin one in the background.

        Raises:
            InvalidRequest: it is to be encrypted and there is no password, or the other way round.
            Busy: too many callers wait, or nobody does such work.
            DiskFull, StorageFailed: as the job said.
        """
        if request.encrypt != (request.password is not None):
            raise InvalidRequest(
                "Send `password` and `encrypt: true` together, or neither: nothing is encrypted "
                "without a password, and no password is kept for a backup that is not encrypted."
            )
        with self._secrets.kept(request.password) as token:
            payload = {"backup_type": request.backup_type, "reason": BY_HAND, "secret": token}
            job = self._archive_jobs.run(lambda: self._submit(payload), request.background)
        result = job.result or {}
        return BackupCreated(
            success=True,
            backup_id=job.id,
            type=request.backup_type,
            status="completed" if job.status == SUCCEEDED else "running",
            size=result.get("size"),
            created_at=result.get("created_at", job.created_at),
            job_id=job.id,
        )

    def history(self) -> list[Backup]:
        """Every backup there is, and those that are being made or failed; newest first."""
        stored = self._folder.list()
        with self._database.read() as session:
            jobs = ArchiveJobStore(session).newest(_LOOKED_AT, (BACKUP_JOB,))
        done = {backup.id for backup in stored}
        shown = [_of_file(backup) for backup in stored]
        shown += [
            _of_job(job)
            for job in jobs
            if job.id not in done and job.status in (*UNFINISHED, FAILED)
        ]
        return sorted(shown, key=lambda backup: backup.created_at, reverse=True)

    def file(self, backup_id: str) -> Path:
        """The archive of a backup; raises `BackupNotFound`."""
        return self._folder.file(self._folder.get(backup_id))

    def latest(self) -> Path:
        """The archive of the last backup that is whole; raises `BackupNotFound`."""
        for backup in self._folder.list():
            if backup.problem is None:
                return self._folder.file(backup)
        raise BackupNotFound("There is no backup yet.")

    def verify(self, backup_id: str, password: str | None) -> Verification:
        """Read every byte of it and compare.

        Raises:
            BackupNotFound: no such backup.
            PasswordNeeded, WrongPassword: it is encrypted.
        """
        return self.verify_file(self.file(backup_id), password)

    def verify_file(self, path: Path, password: str | None) -> Verification:
        """The same with an archive that lies anywhere on this machine."""
        try:
            return verify_archive(path, password, self._scratch)
        except OSError as error:
            raise StorageFailed(
                f"The archive cannot be read: {error.strerror or error}."
            ) from error

    def delete(self, backup_id: str) -> None:
        """Remove a backup for good.

        Raises:
            BackupNotFound: no such backup.
            StorageFailed: its file is in use.
        """
        self._folder.remove(self._folder.get(backup_id))

    def remove_leftovers(self) -> None:
        """Remove what a dead process left unfinished."""
        self._folder.remove_leftovers()

    def _submit(self, payload: dict[str, Any]) -> Job:
        with self._database.write() as session:
            return self._jobs.submit(session, BACKUP_JOB, LIBRARY_LANE, payload)


def _of_file(backup: StoredBackup) -> Backup:
    detail = backup.problem
    if detail is None and backup.left_out:
        detail = f"{backup.left_out} files could not be put in; the manifest in it names them."
    return Backup(
        id=backup.id,
        created_at=backup.created_at,
        type=backup.type,
        reason=backup.reason,
        status="completed" if backup.problem is None else "failed",
        size=backup.size,
        file_name=backup.file_name,
        encrypted=backup.encrypted,
        counts=dict(backup.counts),
        detail=detail,
        url=f"/backups/{backup.id}/file",
    )


def _of_job(job: Job) -> Backup:
    return Backup(
        id=job.id,
        created_at=job.created_at,
        type=job.payload["backup_type"],
        reason=job.payload["reason"],
        status="failed" if job.status == FAILED else "running",
        encrypted=job.payload.get("secret") is not None,
        detail=(job.error or {}).get("detail") or job.message,
        job_id=job.id,
    )
