"""Remembers what there was before a change, so that it can be taken back, for a month."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from lora_manager_core.adapters.undo.repository import OPEN, UndoWriter
from lora_manager_core.common.clock import utc_after, utc_now
from lora_manager_core.db.models import UndoEntry
from lora_manager_core.db.unit_of_work import WriteSession

#: How long a change can be taken back, and how many changes.
KEPT_S = 30 * 24 * 3600.0
KEPT_ENTRIES = 200

#: Told the ids of entries that are gone, after the commit: their files may go, too.
ExpiryListener = Callable[[Sequence[str]], None]


def _nobody(_undo_ids: Sequence[str]) -> None:
    pass


class UndoRecorder:
    """Records changes in the unit of work that makes them."""

    def __init__(self, on_expired: ExpiryListener = _nobody) -> None:
        self._on_expired = on_expired

    def record(
        self,
        session: WriteSession,
        kind: str,
        title: str,
        before: Mapping[str, Any],
        undo_id: str | None = None,
    ) -> str:
        """Remember a change; gives the id under which it can be taken back.

        `kind` says who takes it back (`UndoService`); `title` tells people what was done. `before`
        is JSON; its `records` is a list with one member for each record that was changed. Entries
        older than `KEPT_S` seconds, and all but the newest `KEPT_ENTRIES`, are forgotten.
        """
        entries = UndoWriter(session)
        entry = UndoEntry(
            id=undo_id or str(uuid.uuid4()),
            kind=kind,
            title=title,
            state=OPEN,
            record_count=len(before["records"]),
            before=dict(before),
            created_at=utc_now(),
        )
        entries.add(entry)
        gone = entries.remove_old(utc_after(-KEPT_S), KEPT_ENTRIES)
        if gone:
            session.after_commit(partial(self._on_expired, gone))
        return entry.id
