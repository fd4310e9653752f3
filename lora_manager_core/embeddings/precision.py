"""Which kind of number a model computes with on this machine, chosen once and then remembered.

bf16 is about 2.5 times as fast where the processor has it, at a cosine of 0.9999 to fp32 (an
experiment of this project); elsewhere it is slower. What was chosen is part of a vector's key, so a
second timing must not come out otherwise.
"""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Literal

from lora_manager_core.common.files import write_whole

_log = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]


class PrecisionMemory:
    """What was chosen for each model (by fingerprint), in a small file of the models' folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "precision.json"
        self._lock = threading.Lock()
        self._chosen: dict[str, Precision] = {}

    def get(self, fingerprint: str) -> Precision | None:
        """What was chosen for this model; None before it was loaded here."""
        with self._lock:
            if fingerprint not in self._chosen:
                self._chosen = {**self._read(), **self._chosen}
            return self._chosen.get(fingerprint)

    def put(self, fingerprint: str, precision: Precision) -> None:
        """Remember a choice; one that cannot be written down holds for this process."""
        with self._lock:
            self._chosen = {**self._read(), **self._chosen, fingerprint: precision}
            content = json.dumps(self._chosen).encode()
            try:
                write_whole(self._file, content, self._file.parent / "unfinished")
            except OSError:
                _log.warning("the choice of %s was not written down", precision, exc_info=True)

    def _read(self) -> dict[str, Precision]:
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(stored, dict):
            return {}
        return {str(k): v for k, v in stored.items() if v in ("fp32", "bf16")}
