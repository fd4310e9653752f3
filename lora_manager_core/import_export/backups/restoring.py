"""What people do with a backup to have it back: restore it into the running server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.import_export.archive_jobs import ArchiveJobs
from lora_manager_core.import_export.backups.folder import BackupFolder
from lora_manager_core.import_export.backups.restore_job import RestoreJob
from lora_manager_core.import_export.kinds import RESTORE_JOB
from lora_manager_core.import_export.schemas import BackupRestoreRequest, RestoreAnswer
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import LIBRARY_LANE
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs

#: How often a restore is planned anew because the folders changed under it.
_RETRIES = 2


class RestoreService:
    """Restores backups; each restore is a job."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        archive_jobs: ArchiveJobs,
        job: RestoreJob,
        folder: BackupFolder,
        secrets: Secrets,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._archive_jobs = archive_jobs
        self._folder = folder
        self._secrets = secrets
        runner.register(RESTORE_JOB, job.run)

    def restore(self, backup_id: str, request: BackupRestoreRequest) -> RestoreAnswer:
        """Put back what a backup of the history holds; all of it or nothing.

        Raises:
            BackupNotFound: no such backup.
            Busy: too many callers wait, or nobody does such work.
            LoraManagerError: whatever ended the job, see `RestoreJob.run`.
        """
        self._folder.get(backup_id)
        return self._restore({"backup_id": backup_id}, request)

    def restore_file(self, path: Path, request: BackupRestoreRequest) -> RestoreAnswer:
        """The same with a backup that lies anywhere on this machine."""
        return self._restore({"path": str(path.absolute())}, request)

    def _restore(self, source: dict[str, Any], request: BackupRestoreRequest) -> RestoreAnswer:
        with self._secrets.kept(request.password) as token:
            payload = {
                **source,
                "files": request.files,
                "backup_before": request.backup_before,
                "secret": token,
            }
            job = self._archive_jobs.run(lambda: self._submit(payload), request.background)
        return RestoreAnswer(success=True, job_id=job.id, status=job.status, **(job.result or {}))

    def _submit(self, payload: dict[str, Any]) -> Job:
        with self._database.write() as session:
            return self._jobs.submit(
                session, RESTORE_JOB, LIBRARY_LANE, payload, retries_left=_RETRIES
            )
