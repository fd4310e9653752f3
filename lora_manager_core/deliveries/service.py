"""What a person does with deliveries: send a prompt on its way, look, stop, try again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.deliveries.modes import DeliveryMode
from lora_manager_core.errors import Unprocessable
from lora_manager_core.queueing.service import Jobs


class DeliveryService:
    """Every delivery is a job whose kind belongs to a mode."""

    def __init__(self, database: Database, jobs: Jobs, modes: Sequence[DeliveryMode]) -> None:
        self._database = database
        self._jobs = jobs
        self._modes = {mode.name: mode for mode in modes}

    def open(self, session: WriteSession, prompt: str, mode: str, params: Mapping[str, Any]) -> Job:
        """Add a delivery within the caller's unit of work.

        Raises:
            Unprocessable: an unknown mode, or parameters it does not take.
        """
        chosen = self._modes.get(mode)
        if chosen is None:
            known = ", ".join(self._modes)
            raise Unprocessable(f"There is no delivery mode “{mode}”; there is: {known}.")
        accepted = chosen.accept(prompt, params)
        return self._jobs.submit(
            session,
            chosen.kind,
            chosen.lane,
            accepted.payload,
            work=accepted.work,
            retries_left=chosen.retries,
        )
