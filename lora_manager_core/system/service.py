"""Whether this process can serve, and how machine, queue, backend and scan are doing."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core import __version__
from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.queueing.load import QueueLoad
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.system.device import DeviceMonitor, DeviceReading, NoReading
from lora_manager_core.system.machine import ProcessorLoad, read_disks, read_memory
from lora_manager_core.system.schemas import (
    Health,
    ImporterState,
    Metrics,
    QueueState,
    RecommendationState,
    SdnextState,
    SystemStatus,
    Worker,
)
from lora_manager_core.system.verdict import (
    DATABASE_SILENT,
    NO_BACKEND,
    find_problems,
    status_word,
)

_log = logging.getLogger(__name__)

#: The longest time a status waits for the very first answer of a backend.
_FIRST_ANSWER_S = 1.0
_NO_EMBEDDINGS = "Embeddings are not part of this version yet."
_SDNEXT = "sdnext"


class SystemService:
    """Looks at what the pictures and scans of this installation need.

    `folders` gives (role, folder) of every folder whose disk matters; `importer` tells of scans.
    """

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        backends: BackendRegistry,
        device: DeviceMonitor,
        folders: Callable[[], Sequence[tuple[str, Path]]],
        importer: Callable[[], ImporterState],
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._backends = backends
        self._device = device
        self._folders = folders
        self._importer = importer
        self._processors = ProcessorLoad()

    def health(self) -> Health:
        """Ask the database; nothing else is needed to serve."""
        try:
            with self._database.read() as session:
                session.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return Health(ready=False, reason="The database cannot be read.", version=__version__)
        return Health(ready=True, reason=None, version=__version__)

    def status(self) -> SystemStatus:
        """Read everything; takes a second at most, and that only before a backend has answered."""
        reasons: dict[str, str] = {"recommendations.embeddings_coverage": _NO_EMBEDDINGS}
        device = self._device.read()
        metrics = self._metrics(device, reasons)
        load, importer = self._from_database(reasons)
        name = self._backends.default_name
        if name is None:
            reasons["backend"] = NO_BACKEND
        backend = self._backends.last_status(name, wait_s=_FIRST_ANSWER_S)
        warnings = list(find_problems(name, backend, load, metrics.disks))
        read = device if isinstance(device, DeviceReading) else None
        return SystemStatus(
            status=status_word(
                database_answers=load is not None,
                started=self._jobs.started and (name is None or backend is not None),
                problems=warnings,
            ),
            gpu_available=_available(device),
            gpu_status="ok" if read else "none" if _available(device) is False else "unknown",
            memory_used=read.used_bytes if read else None,
            memory_total=read.total_bytes if read else None,
            queue_length=load.waiting if load else None,
            active_workers=len(load.workers) if load else None,
            backend=name,
            queue_eta_seconds=_rounded(load.eta_s) if load else None,
            last_updated=utc_now(),
            warnings=warnings,
            reasons=reasons,
            metrics=metrics,
            sdnext=self._sdnext(),
            importer=importer,
            recommendations=RecommendationState(embeddings_coverage=None, reason=_NO_EMBEDDINGS),
            queue=_queue(load) if load else None,
        )

    def _metrics(self, device: DeviceReading | NoReading, reasons: dict[str, str]) -> Metrics:
        if isinstance(device, NoReading):
            silent = ("memory_used", "memory_total", "metrics.gpu_name", "metrics.gpu_utilisation")
            reasons.update(dict.fromkeys(silent, device.reason))
            if not device.absent:
                reasons["gpu_available"] = device.reason
        elif device.utilisation is None:
            reasons["metrics.gpu_utilisation"] = "This GPU does not tell."
        load = self._processors.read()
        if load is None:
            reasons["metrics.cpu_load"] = "It is measured from one look to the next; ask again."
        memory = read_memory()
        cpu_count = os.cpu_count()
        if cpu_count is None:
            reasons["metrics.cpu_count"] = "The operating system does not tell."
        read = device if isinstance(device, DeviceReading) else None
        return Metrics(
            cpu_load=_rounded(load),
            cpu_count=cpu_count,
            ram_used=memory.used,
            ram_total=memory.total,
            process_memory=memory.process,
            gpu_name=read.name if read else None,
            gpu_utilisation=read.utilisation if read else None,
            disks=read_disks(self._folders()),
        )

    def _from_database(
        self, reasons: dict[str, str]
    ) -> tuple[QueueLoad | None, ImporterState | None]:
        try:
            load, importer = self._jobs.load(), self._importer()
        except SQLAlchemyError:
            _log.warning("the state of jobs and scans was not read", exc_info=True)
            silent = ("queue_length", "active_workers", "queue_eta_seconds", "queue", "importer")
            reasons.update(dict.fromkeys(silent, DATABASE_SILENT))
            return None, None
        if load.eta_unknown is not None:
            reasons["queue_eta_seconds"] = load.eta_unknown
        return load, importer

    def _sdnext(self) -> SdnextState:
        if _SDNEXT not in self._backends.names:
            reason = "No SD.Next is set up; give its address as SDNEXT_URL."
            return SdnextState(
                configured=False, available=None, reason=reason, model=None, base_model=None
            )
        status = self._backends.last_status(_SDNEXT)
        if status is None:
            reason = "SD.Next has not answered yet; ask again."
            return SdnextState(
                configured=True, available=None, reason=reason, model=None, base_model=None
            )
        return SdnextState(
            configured=True,
            available=status.available,
            reason=status.reason,
            model=status.model,
            base_model=status.architecture,
        )


def _available(device: DeviceReading | NoReading) -> bool | None:
    if isinstance(device, DeviceReading):
        return True
    return False if device.absent else None


def _queue(load: QueueLoad) -> QueueState:
    return QueueState(
        waiting=load.waiting,
        running=load.running,
        eta_seconds=_rounded(load.eta_s),
        problem=load.problem,
        workers=[
            Worker(
                name=worker.name,
                lanes=list(worker.lanes),
                busy=worker.busy,
                last_seen_at=worker.last_seen_at,
            )
            for worker in load.workers
        ],
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
