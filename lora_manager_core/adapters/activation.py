"""The port through which others learn that adapters went into the active set, or out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lora_manager_core.db.unit_of_work import WriteSession


class ActivationListener(Protocol):
    """Is told inside the unit of work of the change, and may write in it."""

    def __call__(self, session: WriteSession, adapter_ids: Sequence[str], active: bool) -> None:
        """These adapters were changed to active, or to not active; they were otherwise before."""


def nobody(session: WriteSession, adapter_ids: Sequence[str], active: bool) -> None:
    """The listener of those who have none."""
