"""Section 4 of the contract: `/generation`; its results are in `results_routes`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Query
from starlette.responses import Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.deliveries.routes import IdempotencyKey
from lora_manager_core.deliveries.schemas import DeliveryCreated
from lora_manager_core.generation.following import FollowingService
from lora_manager_core.generation.schemas import (
    ActiveJobs,
    BackendsAnswer,
    CancelAnswer,
    ComposeAndGenerateRequest,
    GenerationAnswer,
    GenerationParams,
    JobAnswer,
    OutputOptions,
    ProgressAnswer,
)
from lora_manager_core.generation.service import GenerationService
from lora_manager_core.generation.sweep_schemas import SweepRequest
from lora_manager_core.web.deps import JsonResponse, Provided, api_url
from lora_manager_core.web.routing import guarded_router

router = guarded_router("generation", "/generation")

Service = Annotated[GenerationService, Depends(Provided(GenerationService))]
Following = Annotated[FollowingService, Depends(Provided(FollowingService))]
_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem} for code in (400, 404, 409, 424, 503)
}


@router.get("/backends", response_model=BackendsAnswer)
def list_backends(service: Service) -> BackendsAnswer:
    """Each backend, really asked whether it can generate now, and why not."""
    return BackendsAnswer(backends=service.backends())


@router.post("/generate", response_model=GenerationAnswer, responses=_ERRORS)
def generate(
    service: Service,
    url: Annotated[str, Depends(api_url)],
    request: GenerationParams,
    output: Annotated[OutputOptions, Query()],
) -> Response:
    """Make pictures, at once or as a job to follow on the feed."""
    return _linked(service.generate(request, output), url, output)


@router.post("/compose-and-generate", response_model=GenerationAnswer, responses=_ERRORS)
def compose_and_generate(
    service: Service,
    url: Annotated[str, Depends(api_url)],
    request: ComposeAndGenerateRequest,
    output: Annotated[OutputOptions, Query()],
) -> Response:
    """Compose the active set (or what is asked for) and make pictures of it."""
    return _linked(service.compose_and_generate(request, output), url, output)


@router.post(
    "/queue-generation", status_code=201, response_model=DeliveryCreated, responses=_ERRORS
)
def queue_generation(
    service: Service,
    request: GenerationParams,
    output: Annotated[OutputOptions, Query()],
    key: IdempotencyKey = None,
) -> DeliveryCreated:
    """Order pictures as a delivery to follow on the feed; the backend need not be there yet."""
    return DeliveryCreated(delivery_id=service.queue(request, output, key))


@router.post("/sweep", status_code=201, response_model=DeliveryCreated, responses=_ERRORS)
def sweep(
    service: Service,
    request: SweepRequest,
    backend: Annotated[str | None, Query(description="One of `GET /generation/backends`.")] = None,
    key: IdempotencyKey = None,
) -> DeliveryCreated:
    """One prompt over several weights and seeds: a labelled grid, and each picture of it."""
    return DeliveryCreated(delivery_id=service.sweep(request, backend, key))


@router.get("/progress/{job_id}", response_model=ProgressAnswer, responses=_ERRORS)
def get_progress(following: Following, job_id: str) -> ProgressAnswer:
    """How far that job is."""
    return following.progress(job_id)


@router.get("/jobs/active", response_model=ActiveJobs)
def list_active_jobs(
    following: Following, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> ActiveJobs:
    """Jobs that wait or run, oldest first."""
    return ActiveJobs(jobs=following.active(limit))


@router.get("/jobs/{job_id}", response_model=JobAnswer, responses=_ERRORS)
def get_job(following: Following, url: Annotated[str, Depends(api_url)], job_id: str) -> JobAnswer:
    """That job, with its pictures' links once it is completed."""
    job = following.job(job_id)
    if job.result and job.result.get("images"):
        job.result = {**job.result, "images": [url + image for image in job.result["images"]]}
    return JobAnswer(delivery=job)


@router.post("/jobs/{job_id}/cancel", response_model=CancelAnswer, responses=_ERRORS)
def cancel_job(following: Following, job_id: str) -> CancelAnswer:
    """Stop a job: a queued one never starts, a running one stops at its next step."""
    following.cancel(job_id)
    return CancelAnswer(success=True, status="cancelled", message="The job is being stopped.")


def _linked(answer: GenerationAnswer, url: str, output: OutputOptions) -> Response:
    if output.return_format == "url" and answer.images:
        answer.images = [url + image for image in answer.images]
    return JsonResponse(answer.model_dump())
