"""Notices adapters that are taken out of the active set right after they were put into it."""

from __future__ import annotations

import math
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import FeedbackEvent
from lora_manager_core.db.unit_of_work import WriteSession
from lora_manager_core.recommendations.taste.repository import FeedbackWriter
from lora_manager_core.recommendations.taste.signals import REMOVED

#: Taken out after at most so long, it was not what was wanted.
SOON_S = 60.0


class RemovalWatch:
    """An `ActivationListener`. `clock` gives seconds that never go back.

    Who has done it is not known, so such an event is of no user. What was activated is remembered
    in this process alone: the page and the API are one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, session: WriteSession, adapter_ids: Sequence[str], active: bool) -> None:
        """Remember what was activated; log what is taken out within a minute."""
        now = self._clock()
        if active:
            session.after_commit(lambda: self._remember(adapter_ids, now))
            return
        with self._lock:
            soon = [i for i in adapter_ids if now - self._since.get(i, -math.inf) <= SOON_S]
        log = FeedbackWriter(session)
        for adapter_id in soon:
            log.add(
                FeedbackEvent(
                    id=str(uuid.uuid4()),
                    user="",
                    kind=REMOVED,
                    adapter_id=adapter_id,
                    implicit=True,
                    created_at=utc_now(),
                )
            )
        session.after_commit(lambda: self._forget(soon))

    def _remember(self, adapter_ids: Sequence[str], now: float) -> None:
        with self._lock:
            self._since = {i: at for i, at in self._since.items() if now - at <= SOON_S}
            self._since.update(dict.fromkeys(adapter_ids, now))

    def _forget(self, adapter_ids: Sequence[str]) -> None:
        with self._lock:
            for adapter_id in adapter_ids:
                self._since.pop(adapter_id, None)
