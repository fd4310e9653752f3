"""What a person sees first: the library at a glance, what is worth a look, what went on, usage."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.common.clock import utc_after, utc_now
from lora_manager_core.common.kept import Kept
from lora_manager_core.dashboard.activity import read_activity
from lora_manager_core.dashboard.catalogue import Catalogue
from lora_manager_core.dashboard.repository import DashboardRecords
from lora_manager_core.dashboard.schemas import (
    ActivityFeed,
    ActivityQuery,
    DashboardStats,
    GpuMemory,
    QueueWord,
    Stats,
    StorageUsage,
    SystemHealth,
    Usage,
    UsageQuery,
)
from lora_manager_core.dashboard.usage import count_usage
from lora_manager_core.dashboard.usage_repository import UsageRecords
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.system.schemas import QueueState, SystemStatus
from lora_manager_core.system.service import SystemService

FEATURED_RULE = (
    "Favourites first, then by rating, then by the number of generations that used it in the last "
    "30 days, then the newest; adapters whose file is missing are left out."
)
_DAY_S = 24 * 3600.0


class DashboardService:
    """Everything is read when it is asked for; sums over many rows are kept until they change."""

    def __init__(self, database: Database, catalogue: Catalogue, system: SystemService) -> None:
        self._database = database
        self._catalogue = catalogue
        self._system = system
        self._featured: Kept[list[int]] = Kept()
        self._usage: Kept[Usage] = Kept()

    def stats(self) -> DashboardStats:
        """The library and the installation in a few numbers."""
        status = self._system.status()
        counts = self._catalogue.counts()
        with self._database.read() as session:
            recent = DashboardRecords(session).count_created_since(utc_after(-7 * _DAY_S))
        queue = status.queue
        return DashboardStats(
            stats=Stats(
                total_loras=counts.total,
                active_loras=counts.active,
                embeddings_coverage=status.recommendations.embeddings_coverage,
                recent_imports=recent,
                active_jobs=queue.waiting + queue.running if queue else None,
            ),
            system_health=SystemHealth(
                status=status.status,
                gpu_status=status.gpu_status,
                gpu_memory=_gpu_memory(status),
                queue_status=_queue_word(queue),
                storage_usage=StorageUsage(
                    library_bytes=counts.file_bytes, disks=status.metrics.disks
                ),
            ),
            reasons=_reasons(status),
        )

    def featured(self, limit: int) -> dict[str, Any]:
        """The first records by `FEATURED_RULE`, ready for orjson."""
        with self._database.read() as session:
            records = DashboardRecords(session)
            rows = self._featured.get(
                (limit, _minute(), records.state()),
                lambda: records.featured(utc_after(-30 * _DAY_S), limit),
            )
            return {"rule": FEATURED_RULE, "items": Adapters(session).records_of(rows)}

    def activity(self, asked: ActivityQuery) -> ActivityFeed:
        """One page of what happened; raises `Unprocessable` for a `before` that is none."""
        with self._database.read() as session:
            return read_activity(DashboardRecords(session), asked)

    def usage(self, asked: UsageQuery) -> Usage:
        """Runs over time and by group; raises `Unprocessable` for too many hours."""
        now = datetime.now(timezone.utc)
        with self._database.read() as session:
            return self._usage.get(
                (asked, _minute(), DashboardRecords(session).state()),
                lambda: count_usage(UsageRecords(session), asked, now),
            )


def _minute() -> str:
    """The minute, after which what depends on the time is counted anew."""
    return utc_now()[:16]


def _gpu_memory(status: SystemStatus) -> GpuMemory | None:
    if status.memory_used is None or status.memory_total is None:
        return None
    return GpuMemory(used_bytes=status.memory_used, total_bytes=status.memory_total)


def _queue_word(queue: QueueState | None) -> QueueWord:
    if queue is None:
        return "unknown"
    if queue.problem is not None:
        return "unreachable"
    if queue.running:
        return "busy"
    return "waiting" if queue.waiting else "idle"


def _reasons(status: SystemStatus) -> dict[str, str]:
    """The reasons of `/system/status` under the names that the figures have here."""
    names = {
        "recommendations.embeddings_coverage": "stats.embeddings_coverage",
        "memory_used": "system_health.gpu_memory",
        "queue_length": "stats.active_jobs",
    }
    return {names[name]: why for name, why in status.reasons.items() if name in names}
