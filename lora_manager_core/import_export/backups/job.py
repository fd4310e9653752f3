"""The job of a backup: makes one, and for the schedule lets go of those that are too many."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lora_manager_core.db.unit_of_work import WriteSession
from lora_manager_core.import_export.backups.folder import BackupFolder, StoredBackup
from lora_manager_core.import_export.backups.maker import SCHEDULED, BackupMaker, BackupOrder
from lora_manager_core.import_export.secrets import Secrets
from lora_manager_core.queueing.base import JobContext, JobOutcome


class BackupJob:
    """Runs one backup. The payload: `backup_type`, `reason`, and perhaps `secret` and `keep`."""

    def __init__(self, maker: BackupMaker, folder: BackupFolder, secrets: Secrets) -> None:
        self._maker = maker
        self._folder = folder
        self._secrets = secrets

    def run(self, context: JobContext) -> JobOutcome:
        """Make the backup, whose id is that of the job; gives what is kept of it.

        A scheduled one for which there is no need gives only `skipped`, and why.
        """
        payload, mark = context.payload, None
        with self._secrets.used(payload.get("secret")) as password:
            backup = self._made_before(context.job_id)
            if backup is None and payload["reason"] == SCHEDULED:
                found = self._maker.mark(context)
                mark = found.mark
                why = self._needless(mark, empty=found.empty)
                if why is not None:
                    return JobOutcome({"skipped": why})
            if backup is None:
                order = BackupOrder(
                    context.job_id, payload["backup_type"], payload["reason"], password, mark=mark
                )
                backup = self._maker.make(context, order)
        return self._outcome(backup, payload.get("keep"))

    def _outcome(self, backup: StoredBackup, keep: int | None) -> JobOutcome:
        result: dict[str, Any] = asdict(backup)

        def _then(session: WriteSession) -> None:
            if keep is not None:
                session.after_commit(lambda: self._thin_out(keep))

        return JobOutcome(result, _then, lambda: self._folder.remove(backup))

    def _made_before(self, backup_id: str) -> StoredBackup | None:
        """The backup, if an earlier attempt made it and died before it could say so."""
        return next((b for b in self._folder.list() if b.id == backup_id and not b.problem), None)

    def _needless(self, mark: str, *, empty: bool) -> str | None:
        if empty:
            return "There are no adapters and no results yet."
        last = next((b for b in self._folder.list() if b.reason == SCHEDULED), None)
        if last is not None and last.mark == mark:
            return f"Nothing has changed since the backup of {last.created_at}."
        return None

    def _thin_out(self, keep: int) -> None:
        scheduled = [b for b in self._folder.list() if b.reason == SCHEDULED]
        self._maker.thin_out(scheduled[keep:])
