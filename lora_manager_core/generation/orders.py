"""A picture order as the payload of its job: the backend that is to make it, and what looks odd."""

from __future__ import annotations

from typing import Any

from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.errors import BackendUnavailable
from lora_manager_core.generation.schemas import GenerationParams, OutputOptions
from lora_manager_core.queueing.base import GPU_LANE, JobQueue

#: Further tries of a picture whose caller does not wait, after failures that may pass: they take
#: two minutes, longer than SD.Next needs to start.
BACKGROUND_RETRIES = 6


class PictureOrders:
    """Where the queue brings orders to other processes, those have backends of their own."""

    def __init__(self, backends: BackendRegistry, queue: JobQueue) -> None:
        self._backends = backends
        self._queue = queue

    def payload(self, params: GenerationParams, output: OutputOptions) -> dict[str, Any]:
        """The payload; raises `Unprocessable` for an unknown backend."""
        return {
            "backend": self.backend_name(output.backend),
            "params": params.model_dump(),
            "warnings": odd_values(params),
            "return_format": output.return_format,
        }

    def require_backend(self, asked: str | None) -> None:
        """Ask the backend itself; raises `BackendUnavailable` if it cannot generate now."""
        if self._queue.runs_here:
            status = self._backends.probe(asked)
            if not status.available:
                raise BackendUnavailable(status.reason or f"“{status.name}” is not available.")

    def require_worker(self) -> None:
        """Raise `BackendUnavailable` where a caller would wait and nobody works."""
        if self._queue.runs_here:
            return
        if not any(GPU_LANE in worker.lanes for worker in self._queue.workers()):
            raise BackendUnavailable(
                self._queue.problem
                or "No worker makes pictures now. Start `lora-manager worker` beside an SD.Next, "
                "or use mode=deferred, whose pictures wait for one."
            )

    def backend_name(self, asked: str | None) -> str | None:
        """The backend's full name; None leaves the choice to whoever makes the picture."""
        return self._backends.get(asked).name if self._queue.runs_here else asked


def odd_values(params: GenerationParams) -> list[str]:
    """What looks like a slip in an order; it is done all the same."""
    warnings = []
    if params.width % 8 or params.height % 8:
        warnings.append("Width and height should be multiples of 8; they will be rounded down.")
    if params.width * params.height > 4096 * 4096:
        warnings.append("This is a very large picture; it may not fit into memory.")
    if params.width < 64 or params.height < 64:
        warnings.append("This is a very small picture; models are trained on larger ones.")
    if params.steps > 150:
        warnings.append("More than 150 steps rarely improve a picture.")
    if params.cfg_scale > 30:
        warnings.append("A CFG scale above 30 usually burns the picture.")
    if not params.prompt.strip():
        warnings.append("The prompt is empty.")
    return warnings
