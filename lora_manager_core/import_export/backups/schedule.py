"""When backups are made by themselves: a person's choice, else the settings, and a small thread.

The rule: one is due `every_h` hours after the last one that the schedule asked for, whatever came
of it, so that a full disk is not asked again at once; after a time in which no server ran it is due
soon after the start. Whether there is any need for one, its job finds out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from lora_manager_core.common.clock import seconds_between, utc_now, utc_text
from lora_manager_core.db.models import Choice
from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.import_export.backups.folder import BackupFolder
from lora_manager_core.import_export.backups.maker import SCHEDULED
from lora_manager_core.import_export.job_repository import ArchiveJobStore
from lora_manager_core.import_export.kinds import BACKUP_JOB
from lora_manager_core.import_export.schemas import BackupSchedule, BackupScheduleAnswer
from lora_manager_core.queueing.base import LIBRARY_LANE
from lora_manager_core.queueing.service import Jobs

_log = logging.getLogger(__name__)

_CHOICE = "backups.schedule"
#: A start is busy with other things, and a library may not be scanned yet.
_FIRST_LOOK_S = 120.0
#: The longest time between two looks: the clock may be set, the choice made elsewhere.
_LOOK_INTERVAL_S = 600.0
#: So many backups made by hand may lie between two of the schedule.
_LOOKED_AT = 500


class ScheduleService:
    """The schedule in force; `every_h` and `keep` are what holds until a person chooses."""

    def __init__(
        self, database: Database, jobs: Jobs, folder: BackupFolder, every_h: float, keep: int
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._folder = folder
        self._default = BackupSchedule(every_h=every_h, keep=keep)
        #: Called after a choice; the thread listens.
        self.on_change: Callable[[], None] = lambda: None

    def get(self) -> BackupScheduleAnswer:
        """The schedule, and when the next backup is due."""
        with self._database.read() as session:
            return self._answer(session)

    def choose(self, schedule: BackupSchedule) -> BackupScheduleAnswer:
        """Choose another one; it stays so over restarts and counts more than the settings."""
        with self._database.write() as session:
            session.merge(Choice(name=_CHOICE, value=schedule.model_dump()))
            session.flush()
            answer = self._answer(session)
            session.after_commit(self.on_change)
        return answer

    def look(self) -> float | None:
        """Ask for a backup if one is due; gives the seconds until the next, None if there is none.

        Servers that share a database ask one after the other, and the second sees what the first
        asked for.
        """
        due_s = self._due_s(self.get())
        if due_s is None or due_s > 0:
            return due_s
        with self._database.write() as session:
            answer = self._answer(session)
            due_s = self._due_s(answer)
            if due_s is not None and due_s <= 0:
                payload = {
                    "backup_type": answer.backup_type,
                    "reason": SCHEDULED,
                    "keep": answer.keep,
                }
                self._jobs.submit(session, BACKUP_JOB, LIBRARY_LANE, payload)
                due_s = answer.every_h * 3600
        return due_s

    def _due_s(self, answer: BackupScheduleAnswer) -> float | None:
        return None if answer.next_at is None else seconds_between(utc_now(), answer.next_at)

    def _answer(self, session: ReadSession) -> BackupScheduleAnswer:
        chosen = session.get(Choice, _CHOICE)
        schedule = self._default if chosen is None else BackupSchedule(**chosen.value)
        next_at = None
        if schedule.every_h > 0:
            last = self._last_at(session)
            next_at = utc_now() if last is None else _later(last, schedule.every_h)
        return BackupScheduleAnswer(**schedule.model_dump(), next_at=next_at)

    def _last_at(self, session: ReadSession) -> str | None:
        """When the last one was asked for: a job, or a file, should the database be a new one."""
        jobs = ArchiveJobStore(session).newest(_LOOKED_AT, (BACKUP_JOB,))
        times = [job.created_at for job in jobs if job.payload.get("reason") == SCHEDULED]
        times += [b.created_at for b in self._folder.list() if b.reason == SCHEDULED]
        now = utc_now()
        # A clock that was wrong once must not put an end to all backups.
        return max((moment for moment in times if moment <= now), default=None)


class BackupScheduler:
    """The thread that looks whether a backup is due."""

    def __init__(self, schedule: ScheduleService, first_look_s: float = _FIRST_LOOK_S) -> None:
        self._schedule = schedule
        self._first_look_s = first_look_s
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look; safe to call twice."""
        if self._thread is not None:
            return
        self._stopped = threading.Event()
        self._wake.clear()
        self._schedule.on_change = self._wake.set
        self._thread = threading.Thread(
            target=self._run, args=(self._stopped,), name="backup-schedule", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=5.0)

    def _run(self, stopped: threading.Event) -> None:
        wait_s = self._first_look_s
        while True:
            self._wake.wait(wait_s)
            self._wake.clear()
            if stopped.is_set():
                return
            try:
                due_s = self._schedule.look()
            except Exception:  # noqa: BLE001 - the border of a thread that must outlive any failure
                _log.exception("the schedule of backups was not looked at; it is in 10 minutes")
                due_s = None
            wait_s = _LOOK_INTERVAL_S if due_s is None else min(_LOOK_INTERVAL_S, due_s)


def _later(moment: str, hours: float) -> str:
    parsed = datetime.fromisoformat(moment[:-1] + "+00:00")
    return utc_text(parsed + timedelta(hours=hours))
