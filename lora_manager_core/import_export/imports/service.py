"""What people do with archives that come in: upload many at once, or have a file taken in."""

from __future__ import annotations

import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_manager_core.common.files import remove_files
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import InvalidRequest, LoraManagerError
from lora_manager_core.feed.base import Feed, FeedEvent
from lora_manager_core.import_export.archive_jobs import ArchiveJobs
from lora_manager_core.import_export.imports.job import ImportJob, ImportOrder
from lora_manager_core.import_export.kinds import IMPORT_JOB
from lora_manager_core.import_export.schemas import ImportAnswer, ImportConfig, ImportResult
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import LIBRARY_LANE
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.web.uploads import Upload, UploadedFile, UploadFolder

#: How often an import is planned anew because the library changed under it.
_RETRIES = 2


class ImportService:
    """Takes archives in; each is a job of its own."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        feed: Feed,
        archive_jobs: ArchiveJobs,
        job: ImportJob,
        uploads: UploadFolder,
        secrets: Secrets,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._archive_jobs = archive_jobs
        self._uploads = uploads
        self._secrets = secrets
        #: Of the jobs that have not ended, what goes with them.
        self._orders: dict[str, ImportOrder] = {}
        self._lock = threading.Lock()
        runner.register(IMPORT_JOB, job.run)
        feed.subscribe(self._listen)

    def receive(self, upload: Upload, config: ImportConfig) -> ImportAnswer:
        """Take every uploaded archive in, one after the other; one that fails stops no other.

        Raises:
            InvalidRequest: there is none.
        """
        if not upload.files:
            raise InvalidRequest("Send at least one archive in a part named `files`.")
        results = [self._receive(upload, file, config) for file in list(upload.files)]
        return ImportAnswer(
            success=all(result.status not in ("error", "conflicts") for result in results),
            processed_files=sum(result.status != "error" for result in results),
            total_files=len(results),
            results=results,
        )

    def take_file(self, path: Path, config: ImportConfig) -> ImportResult:
        """Take in an archive of this machine and wait for it; the file stays as it is."""
        order = ImportOrder(_settings_of(config), path=str(path.absolute()))
        return self._import(order, path.name, config)

    def remove_leftovers(self) -> None:
        """Remove uploads whose jobs are no more; those of others go when their jobs end."""
        with self._database.read() as session:
            unfinished = JobStore(session).list_unfinished([IMPORT_JOB])
        orders = {job.id: ImportOrder(**job.payload) for job in unfinished}
        with self._lock:
            self._orders.update(orders)
        self._uploads.remove_leftovers({order.upload or "" for order in orders.values()})

    def _receive(self, upload: Upload, file: UploadedFile, config: ImportConfig) -> ImportResult:
        upload.files.remove(file)  # from here on it is the job's
        order = ImportOrder(_settings_of(config), upload=file.path.name)
        return self._import(order, file.name, config)

    def _import(self, order: ImportOrder, name: str, config: ImportConfig) -> ImportResult:
        secret = None if config.password is None else self._secrets.keep(config.password)
        order = ImportOrder(order.config, order.upload, order.path, secret)
        try:
            if config.background:
                return ImportResult(file=name, status="queued", job_id=self._submit(order).id)
            job = self._archive_jobs.wait_for(lambda: self._submit(order))
        except LoraManagerError as error:  # it has ended, or was never begun
            self._discard(order)
            job_id = error.extra.get("job_id")
            return ImportResult(
                file=name, status="error", detail=error.detail, code=error.code, job_id=job_id
            )
        self._discard(order)
        return ImportResult.model_validate({"file": name, "job_id": job.id, **(job.result or {})})

    def _submit(self, order: ImportOrder) -> Job:
        with self._database.write() as session:
            job = self._jobs.submit(
                session, IMPORT_JOB, LIBRARY_LANE, asdict(order), retries_left=_RETRIES
            )
            with self._lock:
                self._orders[job.id] = order
        return job

    def _listen(self, event: FeedEvent) -> None:
        if not event.is_end:
            return
        with self._lock:
            order = self._orders.pop(event.job_id, None)
        if order is not None:
            self._discard(order)

    def _discard(self, order: ImportOrder) -> None:
        """Remove what a job was given."""
        if order.upload is not None:
            remove_files([self._uploads.path_of(order.upload)])
        if order.secret is not None:
            self._secrets.forget(order.secret)


def _settings_of(config: ImportConfig) -> dict[str, Any]:
    """The request as a job keeps it: without the password."""
    return config.model_dump(
        exclude={"password", "background"}, exclude_defaults=True, by_alias=True
    )
