"""What a person does with look-ups: start them, and read what was answered."""

from __future__ import annotations

from typing import Any

from lora_manager_core.adapters.repository import Adapters
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.errors import AdapterNotFound, LookUpsOff
from lora_manager_core.library.chosen import require_known
from lora_manager_core.library.lookups.job import LookUpJob
from lora_manager_core.library.lookups.repository import LookUps
from lora_manager_core.library.lookups.schemas import LookUpRequest
from lora_manager_core.queueing.base import NETWORK_LANE
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore

LOOK_UP_JOB = "library.look-up"
#: Tries after a provider was given up for the moment; what was answered is not asked again.
_RETRIES = 5


class LookUpService:
    """Look-ups at one provider; `enabled` is the setting, without which nothing is ever asked."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        job: LookUpJob,
        provider_name: str,
        enabled: bool,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._provider_name = provider_name
        self._enabled = enabled
        runner.register(LOOK_UP_JOB, job.run)

    def start(self, request: LookUpRequest) -> Job:
        """Start asking, or give the job that is under way.

        Raises:
            LookUpsOff: the setting is off.
            AdapterNotFound: adapters are named that there are not.
        """
        if not self._enabled:
            raise LookUpsOff(
                "Look-ups send hashes of your files to a server elsewhere and are off. Set LOOK_UP "
                "to true (or `look_up = true` in config.toml) and restart."
            )
        payload = {
            **request.order(),
            "again": request.again,
            "previews": request.previews,
            "since": utc_now(),
        }
        with self._database.write() as session:
            require_known(session, request)
            running = JobStore(session).find_unfinished(LOOK_UP_JOB)
            return running or self._jobs.submit(
                session, LOOK_UP_JOB, NETWORK_LANE, payload, retries_left=_RETRIES
            )

    def of(self, adapter_id: str) -> dict[str, Any]:
        """What was answered for an adapter's file; raises `AdapterNotFound`."""
        with self._database.read() as session:
            adapter = Adapters(session).get(adapter_id)
            if adapter is None:
                raise AdapterNotFound(f"There is no adapter {adapter_id}.")
            sha256 = adapter.primary_file_sha256
            told = LookUps(session).get(self._provider_name, sha256) if sha256 else None
        state = "never_asked" if sha256 else "waiting"
        if told is not None:
            state = "found" if told.found else "not_found"
        return {
            "provider": self._provider_name,
            "state": state,
            "asked_at": told.asked_at if told else None,
            "answer": told.answer if told else None,
        }
