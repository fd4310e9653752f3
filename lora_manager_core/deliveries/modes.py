"""What a delivery mode is: a way for a prompt to leave, as a kind of job.

A mode checks what it is given at once, so that a delivery that cannot work is refused before it is
stored; its job does the rest. Each mode is one file; `bootstrap` lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_manager_core.queueing.base import LIBRARY_LANE


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the job is given, and how much work it is in a unit of its kind."""

    payload: Mapping[str, Any]
    work: float = 1.0


class DeliveryMode(ABC):
    """One way out; `name` is what callers say, `kind` the kind of its jobs."""

    name: str
    kind: str
    lane: str = LIBRARY_LANE
    #: How often its job is tried again after a failure that may pass.
    retries: int = 6

    @abstractmethod
    def accept(self, prompt: str, params: Mapping[str, Any]) -> Accepted:
        """Check the parameters; raises `Unprocessable` or `InvalidRequest` and says why."""

    @abstractmethod
    def describe(self, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Prompt and parameters of a stored job, as they were given."""
