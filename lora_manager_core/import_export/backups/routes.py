"""The part of section 7 of the contract on backups, and on the jobs of archives."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends, Query
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.import_export.archive_jobs import ArchiveJobs
from lora_manager_core.import_export.backups.restoring import RestoreService
from lora_manager_core.import_export.backups.schedule import ScheduleService
from lora_manager_core.import_export.backups.service import BackupService
from lora_manager_core.import_export.paths import PREFIX, both
from lora_manager_core.import_export.schemas import (
    ArchiveJob,
    Backup,
    BackupCreated,
    BackupRequest,
    BackupRestoreRequest,
    BackupSchedule,
    BackupScheduleAnswer,
    RestoreAnswer,
    Verification,
    VerifyRequest,
)
from lora_manager_core.web.deps import Provided, api_url
from lora_manager_core.web.files import FileAnswer
from lora_manager_core.web.routing import guarded_router

router = guarded_router("archives", PREFIX)

Backups = Annotated[BackupService, Depends(Provided(BackupService))]
Restores = Annotated[RestoreService, Depends(Provided(RestoreService))]
Schedule = Annotated[ScheduleService, Depends(Provided(ScheduleService))]
ArchiveJobsOf = Annotated[ArchiveJobs, Depends(Provided(ArchiveJobs))]
ApiUrl = Annotated[str, Depends(api_url)]
_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
_FULL: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (400, 503, 507)}


@router.post("/backup/create", response_model=BackupCreated, responses=_FULL)
def create_backup(
    service: Backups, request: Annotated[BackupRequest | None, Body()] = None
) -> BackupCreated:
    """Make a backup; the answer comes when it is there, or at once with `background`."""
    return service.create(request or BackupRequest())


@router.get("/backups/history", response_model=list[Backup])
def backup_history(service: Backups, url: ApiUrl) -> list[Backup]:
    """Every backup there is, and those that are being made or failed; newest first."""
    history = service.history()
    for backup in history:
        if backup.url is not None:
            backup.url = url + PREFIX + backup.url
    return history


@router.get("/backups/schedule", response_model=BackupScheduleAnswer)
def get_schedule(schedule: Schedule) -> BackupScheduleAnswer:
    """When backups are made by themselves."""
    return schedule.get()


@router.put("/backups/schedule", response_model=BackupScheduleAnswer)
def choose_schedule(schedule: Schedule, request: BackupSchedule) -> BackupScheduleAnswer:
    """Choose when backups are made by themselves; it counts more than the settings."""
    return schedule.choose(request)


@router.get(
    "/backups/{backup_id}/file",
    responses={
        **_MISSING,
        206: {"description": "The range asked for."},
        304: {"description": "Not changed."},
        416: {"model": Problem},
    },
)
def download_backup(service: Backups, backup_id: str) -> FileAnswer:
    """The archive of a backup; ranges make an interrupted download go on."""
    path = service.file(backup_id)
    return FileAnswer(path, "application/zip", "private, no-cache", file_name=path.name)


@router.post(
    "/backups/{backup_id}/verify",
    response_model=Verification,
    responses={**_MISSING, 400: {"model": Problem}},
)
def verify_backup(
    service: Backups, backup_id: str, request: Annotated[VerifyRequest | None, Body()] = None
) -> Verification:
    """Read every byte of a backup and compare it with its hashes."""
    return service.verify(backup_id, None if request is None else request.password)


@router.post(
    "/backups/{backup_id}/restore",
    response_model=RestoreAnswer,
    responses={**_MISSING, **_FULL, 409: {"model": Problem}},
)
def restore_backup(
    service: Restores,
    backup_id: str,
    request: Annotated[BackupRestoreRequest | None, Body()] = None,
) -> RestoreAnswer:
    """Put back what a backup holds, all of it or nothing; what people wrote since gives way."""
    return service.restore(backup_id, request or BackupRestoreRequest())


@router.delete("/backups/{backup_id}", status_code=204, responses=_MISSING)
def delete_backup(service: Backups, backup_id: str) -> Response:
    """Remove a backup for good."""
    service.delete(backup_id)
    return Response(status_code=204)


@router.get("/jobs", response_model=list[ArchiveJob])
def list_jobs(
    jobs: ArchiveJobsOf, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[ArchiveJob]:
    """The last exports, imports, backups and restores, newest first."""
    return jobs.list(limit)


@router.get("/jobs/{job_id}", response_model=ArchiveJob, responses=_MISSING)
def get_job(jobs: ArchiveJobsOf, job_id: str) -> ArchiveJob:
    """One of them: how far it is, and what came of it."""
    return jobs.get(job_id)


@router.post(
    "/jobs/{job_id}/cancel",
    response_model=ArchiveJob,
    responses={**_MISSING, 409: {"model": Problem}},
)
def cancel_job(jobs: ArchiveJobsOf, job_id: str) -> ArchiveJob:
    """Stop one; what it had begun is taken back."""
    return jobs.cancel(job_id)


both(router)
