"""The catalogue in numbers, counted once for each of its states, and how its scan is doing."""

from __future__ import annotations

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.common.kept import Kept
from lora_manager_core.dashboard.repository import CatalogueCounts, DashboardRecords
from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.library.scan import SCAN_JOB
from lora_manager_core.queueing.base import SUCCEEDED
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.system.schemas import ImporterState


class Catalogue:
    """Counts that are kept until the catalogue changes: counting walks the whole table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: Kept[CatalogueCounts] = Kept(most=1)

    def counts(self) -> CatalogueCounts:
        """The counts of this moment."""
        with self._database.read() as session:
            return self._counts(session)

    def importer(self) -> ImporterState:
        """The scan that is under way, the last one that succeeded, and what is listed."""
        with self._database.read() as session:
            store = JobStore(session)
            running, last = store.find_unfinished(SCAN_JOB), store.newest(SCAN_JOB, SUCCEEDED)
            counts = self._counts(session)
        return ImporterState(
            scanning_job_id=running.id if running else None,
            progress=running.progress if running else None,
            message=running.message if running else None,
            last_scan={**(last.result or {}), "finished_at": last.finished_at} if last else None,
            total=counts.total,
            missing=counts.missing,
            unreadable=counts.unreadable,
        )

    def _counts(self, session: ReadSession) -> CatalogueCounts:
        return self._kept.get(Adapters(session).revision(), DashboardRecords(session).counts)
