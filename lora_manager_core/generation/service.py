"""What a person does to get pictures: order them now or later."""

from __future__ import annotations

import threading
from pathlib import Path

from lora_manager_core.backends.registry import BackendRegistry
from lora_manager_core.compose.service import ComposeService
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.deliveries.schemas import DeliveryCreate
from lora_manager_core.deliveries.service import DeliveryService
from lora_manager_core.errors import Busy, GenerationFailed, InvalidRequest, LoraManagerError
from lora_manager_core.generation.delivery_mode import PictureMode
from lora_manager_core.generation.following import STATUS_WORDS
from lora_manager_core.generation.jobs import GENERATION_JOB, GenerationJob
from lora_manager_core.generation.orders import BACKGROUND_RETRIES, PictureOrders
from lora_manager_core.generation.pictures import PictureFolder
from lora_manager_core.generation.repository import Results, ResultWriter
from lora_manager_core.generation.schemas import (
    BackendInfo,
    ComposeAndGenerateRequest,
    GenerationAnswer,
    GenerationParams,
    OutputOptions,
)
from lora_manager_core.generation.sweep import SweepMode
from lora_manager_core.generation.sweep_schemas import SweepRequest
from lora_manager_core.queueing.base import FAILED, GPU_LANE, SUCCEEDED
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs

#: Callers that may wait for their picture at once: each holds one of the server's threads.
_MOST_WAITING = 8
_DEFAULT_OUTPUT = OutputOptions()


class GenerationService:
    """Orders of pictures, each a job of the GPU lane."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        runner: JobRunner,
        backends: BackendRegistry,
        compose: ComposeService,
        job: GenerationJob,
        pictures: PictureFolder,
        orders: PictureOrders,
        deliveries: DeliveryService,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._backends = backends
        self._compose = compose
        self._pictures = pictures
        self._orders = orders
        self._deliveries = deliveries
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        runner.register(GENERATION_JOB, job.run)

    def backends(self) -> list[BackendInfo]:
        """Every backend, really asked."""
        default = self._backends.default_name
        return [
            BackendInfo(
                name=status.name,
                available=status.available,
                reason=status.reason,
                model=status.model,
                base_model=status.architecture,
                default=status.name == default,
            )
            for status in self._backends.probe_all()
        ]

    def generate(
        self,
        params: GenerationParams,
        output: OutputOptions = _DEFAULT_OUTPUT,
    ) -> GenerationAnswer:
        """Order pictures; `immediate` waits for them.

        Raises:
            BackendUnavailable: the backend cannot generate now, and why.
            InvalidRequest: pictures that are not kept cannot be linked to.
            Busy: too many callers wait already.
            LoraManagerError: in `immediate` mode, whatever ended the job.
        """
        if not output.save_images and (
            output.return_format != "base64" or output.mode == "deferred"
        ):
            raise InvalidRequest(
                "Pictures that are not saved can only be returned as base64, at once."
            )
        self._orders.require_backend(output.backend)
        if output.mode == "deferred":
            job = self._submit(params, output, retries=BACKGROUND_RETRIES)
            return GenerationAnswer(
                job_id=job.id,
                status="queued",
                progress=0.0,
                warnings=job.payload["warnings"],
                prompt=params.prompt,
            )
        self._orders.require_worker()
        if not self._waiting.acquire(blocking=False):
            raise Busy("Too many requests wait for their pictures; use mode=deferred and the feed.")
        try:
            job = self._jobs.wait(self._submit(params, output, retries=0).id)
        finally:
            self._waiting.release()
        return self._answer(job, params.prompt, output)

    def compose_and_generate(
        self,
        request: ComposeAndGenerateRequest,
        output: OutputOptions = _DEFAULT_OUTPUT,
    ) -> GenerationAnswer:
        """Compose, then generate from what came out; `InvalidRequest` when nothing is active."""
        asked = request.compose_request
        if asked.prefix is None:
            asked = asked.model_copy(update={"prefix": request.generation_params.prompt})
        composition = self._compose.compose(asked)
        if not composition.tokens:
            raise InvalidRequest(
                "No adapter is active, so there is nothing to compose; activate one first.",
                code_hint="none_active",
            )
        params = GenerationParams(
            prompt=composition.prompt, **request.generation_params.model_dump(exclude={"prompt"})
        )
        answer = self.generate(params, output)
        answer.compose_warnings = composition.warnings
        return answer

    def queue(
        self,
        params: GenerationParams,
        output: OutputOptions = _DEFAULT_OUTPUT,
        idempotency_key: str | None = None,
    ) -> str:
        """Order pictures as a delivery and give its id; the backend need not be there yet.

        Raises:
            Unprocessable: no backend has that name.
            InvalidRequest: pictures of a delivery are always saved.
            IdempotencyKeyReused: the key belongs to another request.
        """
        options = output.model_dump(exclude={"mode"}, exclude_unset=True)
        order = {"generation_params": params.model_dump(exclude={"prompt"}), **options}
        request = DeliveryCreate(prompt=params.prompt, mode=PictureMode.name, params=order)
        return self._deliveries.create(request, idempotency_key)

    def sweep(
        self, sweep: SweepRequest, backend: str | None, idempotency_key: str | None = None
    ) -> str:
        """Order one prompt over several weights and seeds, and give the id of the delivery.

        Raises:
            LoraManagerError: as `SweepMode.accept`.
            IdempotencyKeyReused: the key belongs to another request.
        """
        order = sweep.model_dump(exclude={"generation_params": {"prompt"}}, exclude_unset=True)
        request = DeliveryCreate(
            prompt=sweep.generation_params.prompt,
            mode=SweepMode.name,
            params={**order, "backend": backend},
        )
        return self._deliveries.create(request, idempotency_key)

    def _submit(self, params: GenerationParams, output: OutputOptions, retries: int) -> Job:
        payload = self._orders.payload(params, output)
        with self._database.write() as session:
            return self._jobs.submit(
                session, GENERATION_JOB, GPU_LANE, payload, work=params.work, retries_left=retries
            )

    def _answer(self, job: Job, prompt: str, output: OutputOptions) -> GenerationAnswer:
        if job.status == FAILED:
            raise _failure(job)
        answer = GenerationAnswer(
            job_id=job.id, status=STATUS_WORDS[job.status], progress=job.progress, prompt=prompt
        )
        if job.status != SUCCEEDED or job.result is None:
            return answer
        answer.generation_info = job.result["generation_info"]
        answer.warnings = job.result["warnings"]
        if output.return_format == "url":
            answer.images = job.result["images"]
            return answer
        with self._database.read() as session:
            stored = [image.file_path for image in Results(session).images(job.id)]
        shown = [self._pictures.show(path, output.return_format) for path in stored]
        answer.images = [picture for picture in shown if picture is not None]
        if len(answer.images) < len(stored):
            raise GenerationFailed(
                "The pictures were made, but their files are not in the output folder of this "
                "server. Where workers make them, server and workers need the same output folder."
            )
        if not output.save_images:
            with self._database.write() as session:
                ResultWriter(session).forget(job.id)
            self._pictures.remove([Path(path) for path in stored])
        return answer


def _failure(job: Job) -> LoraManagerError:
    """The error that ended a job, as the problem it was."""
    stored = job.error or {}
    error = LoraManagerError(stored.get("detail", "The job failed; see the log."), job_id=job.id)
    error.status = stored.get("status", 500)
    error.code = stored.get("code", "generation_failed")
    error.title = "Generation failed"
    return error
