"""Reads the catalogue into memory soon after a start, so that the first question need not wait.

At 10,000 adapters that takes ten seconds of a core. Only where recommendations were asked for
lately: to the others it would cost memory for nothing.
"""

from __future__ import annotations

import logging
import threading

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core.common.clock import utc_after
from lora_manager_core.db.models import RecommendationSession
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex

_log = logging.getLogger(__name__)

#: Whoever asked for nothing for so long does without.
_LATELY_S = 30 * 24 * 3600.0
#: After the start, which has better things to do.
_DELAY_S = 10.0


class WarmUp:
    """One thread that ends when all is read, or at `stop`."""

    def __init__(
        self, database: Database, index: CatalogueIndex, delay_s: float = _DELAY_S
    ) -> None:
        self._database = database
        self._index = index
        self._delay_s = delay_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; does nothing where it was begun."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(
                target=self._run, name="recommendations-warm-up", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Leave the rest unread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        if self._stopping.wait(self._delay_s):
            return
        try:
            if self._was_asked_lately():
                self._index.warm_up(self._stopping.is_set)
        except SQLAlchemyError:  # the first question tries anew, and tells who asks
            _log.warning("recommendations were not read in advance", exc_info=True)

    def _was_asked_lately(self) -> bool:
        with self._database.read() as session:
            last = session.scalar(select(func.max(RecommendationSession.created_at)))
        return last is not None and last > utc_after(-_LATELY_S)
