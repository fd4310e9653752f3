"""Makes one backup: looks whether there is room, writes the archive, gives it its place."""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lora_manager_core.common.paths import MODEL_SUFFIXES, path_key
from lora_manager_core.common.storage import storage_errors
from lora_manager_core.errors import StorageFailed
from lora_manager_core.import_export.backups.folder import BackupFolder, StoredBackup, backup_name
from lora_manager_core.import_export.exports.archive_writer import (
    ArchiveWriter,
    Written,
)
from lora_manager_core.import_export.exports.choice import Choice
from lora_manager_core.import_export.exports.snapshot import Snapshots
from lora_manager_core.import_export.schemas import BackupType, Contents
from lora_manager_core.queueing.base import JobContext, JobProgress

_log = logging.getLogger(__name__)

BY_HAND = "by hand"
SCHEDULED = "schedule"
BEFORE_IMPORT = "before import"
BEFORE_RESTORE = "before restore"
#: How many of those made before an import or a restore are kept.
_KEPT_BEFORE = 10


@dataclass(frozen=True, slots=True)
class BackupOrder:
    """One backup to be made. `only_files`: keys of the model files that are wanted, None: all."""

    id: str
    type: BackupType
    reason: str
    password: str | None = None
    replaced: Sequence[Path] = ()
    mark: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """What the content of a quick backup comes to; `empty` where nobody ever had anything."""

    mark: str
    empty: bool


class BackupMaker:
    """Writes backups into the folder, for the job of a backup and for jobs that make one before."""

    def __init__(self, writer: ArchiveWriter, snapshots: Snapshots, folder: BackupFolder) -> None:
        self._writer = writer
        self._snapshots = snapshots
        self._folder = folder

    def make(self, context: JobContext, order: BackupOrder) -> StoredBackup:
        """Make a backup; nothing is left of one that fails or is cancelled.

        Raises:
            DiskFull: it would not fit; how much is needed is said before anything is written.
            StorageFailed: a file cannot be read or written.
            JobCancelled: the job is to stop.
        """
        with self._folder.writing(order.id) as file:
            written = self._writer.write(
                _choice(order), file, context, order.password, self._folder.path
            )
        backup = _stored(order, written)
        self._folder.publish(backup)
        return backup

    def before(
        self, context: JobContext, reason: str, replaced: Sequence[Path], in_use: str | None = None
    ) -> str:
        """A quick backup with the files that are about to be replaced; gives its id.

        It takes the first tenth of the job's progress. Older ones of that reason go, but for the
        one that is `in_use`. Raises as `make` does.
        """
        order = BackupOrder(str(uuid.uuid4()), "quick", reason, replaced=replaced)
        made = self.make(_FirstTenth(context), order)
        same = [backup for backup in self._folder.list() if backup.reason == reason]
        old = [b for b in same if b.id != made.id][_KEPT_BEFORE - 1 :]
        self.thin_out([b for b in old if b.id != in_use])
        return made.id

    def thin_out(self, old: Sequence[StoredBackup]) -> None:
        """Remove backups that are no longer kept; broken ones stay, for people to look at.

        One that cannot be removed, being downloaded for example, goes the next time.
        """
        for backup in old:
            if backup.problem is None:
                try:
                    self._folder.remove(backup)
                except StorageFailed as failed:
                    _log.warning("%s: %s", backup.file_name, failed.detail)

    def mark(self, context: JobContext) -> Mark:
        """What there is to be kept now: equal marks, equal rows.

        Everything that a quick backup would hold is read for it, so that nothing can be overlooked.
        """
        digest = hashlib.sha256()
        choice = Choice(_contents("quick", ()), kind="backup", with_paths=True)
        scratch = self._snapshots.scratch
        with storage_errors(scratch):
            scratch.mkdir(parents=True, exist_ok=True)
            with self._snapshots.take(choice, context.raise_if_cancelled) as snapshot:
                for member in snapshot.index.members():
                    if member.sha256 is not None:
                        digest.update(f"{member.name}\n{member.sha256}\n".encode())
                counts = snapshot.manifest.counts
        return Mark(digest.hexdigest(), not (counts["adapters"] or counts.get("results")))


class _FirstTenth(JobContext):
    """A job's context for a part of it that comes before the rest."""

    def __init__(self, context: JobContext) -> None:
        self.job_id, self.payload = context.job_id, context.payload
        self._context = context

    def report(self, progress: JobProgress) -> None:
        message = f"Backup of the present: {progress.message}"
        self._context.report(JobProgress(progress.fraction / 10, message=message))

    def is_cancelled(self) -> bool:
        return self._context.is_cancelled()


def _choice(order: BackupOrder) -> Choice:
    return Choice(
        _contents(order.type, order.replaced),
        only_files=frozenset(map(path_key, order.replaced)) if order.type == "quick" else None,
        kind="backup",
        backup_type=order.type,
        reason=order.reason,
        with_database=True,
        with_paths=True,
        id=order.id,
    )


def _contents(backup_type: BackupType, replaced: Sequence[Path]) -> Contents:
    full = backup_type == "full"
    return Contents(
        loras=True,
        lora_files=full or bool(replaced),
        lora_metadata=True,
        # Previews are not chosen one by one: if one of them is replaced, all of them go in.
        previews=full or any(path.suffix.lower() not in MODEL_SUFFIXES for path in replaced),
        generations=True,
        pictures=full,
        user_data=True,
        system_config=True,
        analytics=True,
    )


def _stored(order: BackupOrder, written: Written) -> StoredBackup:
    manifest = written.manifest
    return StoredBackup(
        id=order.id,
        created_at=manifest.created_at,
        type=cast(BackupType, manifest.backup_type),
        reason=order.reason,
        size=written.size_bytes,
        file_name=backup_name(manifest.created_at, order.type, order.id),
        encrypted=order.password is not None,
        counts=dict(manifest.counts),
        left_out=written.left_out_count,
        mark=order.mark,
    )
