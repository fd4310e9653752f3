"""The port of what can be taken back: each kind of change knows how, and what is in the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Protocol

from lora_manager_core.db.models import UndoEntry
from lora_manager_core.db.unit_of_work import WriteSession
from lora_manager_core.errors import UndoConflict

#: Takes the change back inside a unit of work, also (`force`) where somebody has changed something
#: since; gives the ids of the records it concerned. Raises `UndoConflict`.
TakeBack = Callable[[WriteSession, bool], Sequence[str]]

#: Records named in an answer that there are conflicts.
_NAMED = 100


class UndoKind(Protocol):
    """How one kind of change is taken back."""

    def taking_back(self, entry: UndoEntry) -> AbstractContextManager[TakeBack]:
        """What there is to do before and after the unit of work, which the caller opens inside."""


@dataclass(frozen=True, slots=True)
class Since:
    """What has happened to a record since the change, so that it does not fit any more."""

    adapter_id: str
    reason: str
    name: str | None = None


def require_unchanged(since: Sequence[Since], force: bool = False) -> None:
    """Raise `UndoConflict`, naming the records, unless there are none or it is to be forced."""
    if since and not force:
        raise UndoConflict(
            f"{len(since)} of the records have changed since; nothing was taken back. Send "
            "`force=true` to do it all the same.",
            conflicts=[asdict(one) for one in since[:_NAMED]],
            conflict_count=len(since),
        )
