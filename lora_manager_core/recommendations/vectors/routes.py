"""The part of section 5 of the contract on embeddings: compute them, and how they stand."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends, Response

from lora_manager_core.common.schema import Problem
from lora_manager_core.recommendations.vectors.embeddings import EmbeddingService
from lora_manager_core.recommendations.vectors.schemas import (
    EmbeddingCoverage,
    EmbeddingReport,
    EmbeddingRequest,
    EmbeddingStatus,
    OneEmbeddingRequest,
)
from lora_manager_core.web.deps import Provided
from lora_manager_core.web.routing import guarded_router

router = guarded_router("recommendations", "/recommendations/embeddings")

Service = Annotated[EmbeddingService, Depends(Provided(EmbeddingService))]
_MISSING: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}
_COMPUTING: dict[int | str, dict[str, Any]] = {
    **_MISSING,
    202: {"model": EmbeddingReport, "description": "It goes on in the background."},
    **{code: {"model": Problem} for code in (400, 409, 424, 503)},
}


@router.get("", response_model=EmbeddingCoverage)
def embedding_coverage(service: Service) -> EmbeddingCoverage:
    """How much of the catalogue is embedded, how fast it goes on, and the text models."""
    return service.coverage()


@router.post("/compute", response_model=EmbeddingReport, responses=_COMPUTING)
def compute_embeddings(
    service: Service, request: EmbeddingRequest, response: Response
) -> EmbeddingReport:
    """Compute the embeddings of some adapters, or of all; the answer comes when that is done.

    With `background` it comes at once, and the feed tells the rest. What is current is skipped.
    Without the `semantic` extra it is refused with 424, but weights are computed all the same.
    """
    report = service.compute(request)
    response.status_code = 200 if report.completed_at else 202
    return report


@router.get("/{lora_id}", response_model=EmbeddingStatus, responses=_MISSING)
def embedding_status(service: Service, lora_id: str) -> EmbeddingStatus:
    """Which embeddings an adapter has, and why not the others."""
    return service.status(lora_id)


@router.post("/{lora_id}/compute", response_model=EmbeddingReport, responses=_COMPUTING)
def compute_embedding(
    service: Service,
    lora_id: str,
    response: Response,
    request: Annotated[OneEmbeddingRequest | None, Body()] = None,
) -> EmbeddingReport:
    """Compute the embeddings of one adapter."""
    asked = request or OneEmbeddingRequest()
    report = service.compute(EmbeddingRequest(adapter_ids=[lora_id], **asked.model_dump()))
    response.status_code = 200 if report.completed_at else 202
    return report
