"""What a delivery mode is: a way for a prompt to leave, as a kind of job.

A mode checks what it is given at once, so that a delivery that cannot work is refused before it is
stored; its job does the rest. Each mode is one file; `bootstrap` lists them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.errors import Unprocessable
from lora_manager_core.queueing.base import DELIVERY_LANE
from lora_manager_core.web.errors import validation_errors

_Params = TypeVar("_Params", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the job is given, and how much work it is in a unit of its kind."""

    payload: Mapping[str, Any]
    work: float = 1.0


class DeliveryMode(ABC):
    """One way out; `name` is what callers say, `kind` the kind of its jobs."""

    name: str
    kind: str
    lane: str = DELIVERY_LANE
    #: How often its job is tried again after a failure that may pass.
    retries: int = 6

    @abstractmethod
    def accept(self, prompt: str, params: Mapping[str, Any]) -> Accepted:
        """Check the parameters; raises `Unprocessable` or `InvalidRequest` and says why."""

    @abstractmethod
    def describe(self, payload: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Prompt and parameters of a stored job, as they were given."""

    def result(self, job: Job, url: str) -> Mapping[str, Any] | None:
        """What came of it, for one of many; `url` is the prefix of links to this API."""
        return job.result

    def whole_result(self, session: ReadSession, job: Job, url: str) -> Mapping[str, Any] | None:
        """What came of it, in the form its caller asked for."""
        return self.result(job, url)


def checked(schema: type[_Params], params: object, place: str = "params") -> _Params:
    """The parameters as that schema; raises `Unprocessable` with the list of mistakes."""
    try:
        return schema.model_validate(params)
    except ValidationError as error:
        mistakes = validation_errors(error.errors(include_url=False, include_input=False))
        for mistake in mistakes:
            mistake["loc"] = [place, *mistake["loc"]]
        first = mistakes[0]
        raise Unprocessable(f"{'.'.join(first['loc'])}: {first['msg']}", errors=mistakes) from error
