"""Which LoRAs a generation used, and the record of it for pictures that were not made by our jobs.

Our own jobs write their row in the unit of work that ends them (`generation.jobs`). Inside SD.Next
its own pictures are told here from a hook that must not wait, so a thread of ours writes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from lora_manager_core.common.lora_tokens import LoraToken, find_tokens
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.db.write_behind import WriteBehind
from lora_manager_core.generation.runs import Run, RunWriter


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
        self._behind = WriteBehind[Run]("usage-recorder", self._write, pause_s)

    def record(self, run: Run) -> None:
        """Have a run written soon; returns at once. With too many waiting the oldest is lost."""
        self._behind.add(run)

    def stop(self) -> None:
        """Write what waits and end the thread; the next `record` begins anew."""
        self._behind.stop()

    def _write(self, runs: list[Run]) -> None:
        with self._database.write() as session:
            writer = RunWriter(session)
            for run in runs:
                writer.add(run)
