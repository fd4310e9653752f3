"""Which LoRAs a generation used, and the record of it for pictures that were not made by our jobs.

Our own jobs write their row in the unit of work that ends them (`generation.jobs`). Inside SD.Next
its own pictures are told here from a hook that must not wait, so a thread of ours writes them.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from lora_manager_core.common.lora_tokens import LoraToken, find_tokens
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.generation.runs import Run, RunWriter

_log = logging.getLogger(__name__)

#: Runs that wait to be written at most; more come together only while the database is away.
_MOST_WAITING = 1000


def loras_used(prompts: Sequence[str], batch_size: int = 1) -> dict[str, float]:
    """Name → strength of what applied to a job's prompts, in the order of the prompts.

    SD.Next gives all prompts of a batch one set of LoRAs, that of the last one with tokens, and
    skips those of strength 0. Of a name used twice the first strength is told.
    """
    used: dict[str, float] = {}
    size = max(batch_size, 1)
    for start in range(0, len(prompts), size):
        for token in _in_force(prompts[start : start + size]):
            if token.weight != 0 or token.text_encoder_weight != 0:
                used.setdefault(token.name, token.weight)
    return used


def _in_force(batch: Sequence[str]) -> list[LoraToken]:
    found = (list(find_tokens(prompt)) for prompt in reversed(batch))
    return next((tokens for tokens in found if tokens), [])


class UsageRecorder:
    """Writes runs from a thread of its own, which begins with the first of them.

    When the database cannot be written, they wait `pause_s` for another try.
    """

    def __init__(self, database: Database, pause_s: float = 5.0) -> None:
        self._database = database
        self._pause_s = pause_s
        self._waiting: deque[Run] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def record(self, run: Run) -> None:
        """Have a run written soon; returns at once. With too many waiting the oldest is lost."""
        with self._changed:
            self._waiting.append(run)
            if self._thread is None:
                self._closed = False
                self._thread = threading.Thread(
                    target=self._write, name="usage-recorder", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what waits and end the thread; the next `record` begins anew."""
        with self._changed:
            thread, self._thread = self._thread, None
            self._closed = True
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout_s)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                runs, last_try = list(self._waiting), self._closed
                if not runs:
                    return
            try:
                with self._database.write() as session:
                    writer = RunWriter(session)
                    for run in runs:
                        writer.add(run)
            except SQLAlchemyError:
                _log.warning("%d generations could not be recorded yet", len(runs), exc_info=True)
                if last_try:
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, self._pause_s)
                continue
            with self._changed:
                for run in runs:
                    if self._waiting and self._waiting[0] is run:
                        self._waiting.popleft()
