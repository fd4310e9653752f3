"""The kinds of jobs that make and read archives; all of them run in the library's lane."""

from __future__ import annotations

EXPORT_JOB = "archive.export"
IMPORT_JOB = "archive.import"
BACKUP_JOB = "archive.backup"
RESTORE_JOB = "archive.restore"
ARCHIVE_JOBS = (EXPORT_JOB, IMPORT_JOB, BACKUP_JOB, RESTORE_JOB)
