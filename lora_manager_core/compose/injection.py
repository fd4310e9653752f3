"""Whether the active set goes into every generation of the host: yes, until a person says no."""

from __future__ import annotations

from lora_manager_core.compose.schemas import InjectionState
from lora_manager_core.db.models import Choice
from lora_manager_core.db.unit_of_work import Database

_CHOICE = "injection.enabled"


class InjectionService:
    """The switch; `available` says whether this process lives in a host."""

    def __init__(self, database: Database, available: bool) -> None:
        self._database = database
        self._available = available

    def state(self) -> InjectionState:
        """The switch as it stands."""
        with self._database.read() as session:
            choice = session.get(Choice, _CHOICE)
            enabled = True if choice is None else bool(choice.value)
        return InjectionState(available=self._available, enabled=enabled)

    def switch(self, enabled: bool) -> InjectionState:
        """Turn injection on or off; it stays so over restarts."""
        with self._database.write() as session:
            session.merge(Choice(name=_CHOICE, value=enabled))
        return InjectionState(available=self._available, enabled=enabled)
