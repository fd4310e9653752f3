"""What people do with embeddings: have them computed, and look how they stand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.models import Job
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.errors import AdapterNotFound, InvalidRequest, LoraManagerError
from lora_manager_core.queueing.store import JobStore
from lora_manager_core.queueing.waiting import JobWaiting
from lora_manager_core.recommendations.vectors.jobs import VectorJob, VectorOrder
from lora_manager_core.recommendations.vectors.repository import TextVectorStore
from lora_manager_core.recommendations.vectors.schemas import (
    EmbeddingCoverage,
    EmbeddingError,
    EmbeddingJob,
    EmbeddingReport,
    EmbeddingRequest,
    EmbeddingStatus,
    TextEmbedding,
    TextModelState,
    WeightEmbedding,
    WeightProfile,
)
from lora_manager_core.recommendations.vectors.service import VectorService
from lora_manager_core.recommendations.vectors.states import EmbeddingStates, Written
from lora_manager_core.weights.method import METHOD

Kind = Literal["text", "weights"]


class EmbeddingService:
    """The embeddings as the API shows them. `kinds` are the jobs that compute them."""

    def __init__(
        self,
        database: Database,
        vectors: VectorService,
        waiting: JobWaiting,
        tiers: TextTiers,
        kinds: Mapping[Kind, VectorJob],
    ) -> None:
        self._database = database
        self._vectors = vectors
        self._waiting = waiting
        self._tiers = tiers
        self._kinds = kinds

    def compute(self, request: EmbeddingRequest) -> EmbeddingReport:
        """Have embeddings computed; waits for them, unless it is to go on in the background.

        A text model that could not be loaded before is tried again.

        Raises:
            InvalidRequest: nothing is asked for.
            AdapterNotFound: some ids are no adapter's; nothing was begun.
            ExtraNotInstalled: there is no text model; weights are computed if they can be.
            EmbeddingUnavailable: the text model does not work.
            Busy: too many callers wait, or nobody does such work.
        """
        if not request.adapter_ids and not request.compute_all:
            raise InvalidRequest("Name adapters in `adapter_ids`, or send `compute_all: true`.")
        ids = None if request.compute_all else list(dict.fromkeys(request.adapter_ids))
        with self._database.read() as session:
            known = TextVectorStore(session).known_ids(ids or [])
            revision = counters.read_counter(session, counters.EMBEDDINGS)
        unknown = [adapter_id for adapter_id in ids or [] if adapter_id not in known]
        if unknown:
            raise AdapterNotFound(f"There is no adapter {', '.join(unknown[:10])}.", ids=unknown)
        self._tiers.retry()
        order = VectorOrder(ids, request.force_recompute, request.batch_size)
        problems = {name: kind.unavailable() for name, kind in self._kinds.items()}
        able = [name for name, problem in problems.items() if problem is None]
        refused = problems["text"]
        if refused is not None:
            raise _with_jobs(refused, self._submit(able, order))
        if request.background:
            return _report(self._submit(able, order), None, 0.0, Written())
        started = time.monotonic()
        jobs: dict[Kind, Job] = {}

        def _first() -> Job:
            jobs.update(self._submit(able, order))
            return jobs["text"]

        self._waiting.wait_for(_first)
        for name in able:
            jobs[name] = self._waiting.wait_for(partial(jobs.__getitem__, name))
        with self._database.read() as session:
            written = EmbeddingStates(session).written_since(revision, ids)
        return _report(jobs, utc_now(), time.monotonic() - started, written)

    def status(self, adapter_id: str) -> EmbeddingStatus:
        """Which embeddings an adapter has; raises `AdapterNotFound`."""
        embedder = self._tiers.wanted()
        with self._database.read() as session:
            states = EmbeddingStates(session)
            text = states.text(adapter_id, embedder.known_key if embedder else None)
            weights = states.weights(adapter_id, METHOD)
        if text is None or weights is None:
            raise AdapterNotFound(f"There is no adapter {adapter_id}.")
        made = [moment for moment in (text.made_at, weights.made_at) if moment]
        return EmbeddingStatus(
            lora_id=adapter_id,
            has_semantic_embedding=text.has_text,
            has_artistic_embedding=text.has_tags,
            has_technical_embedding=weights.has_sketch,
            has_extracted_features=weights.profile is not None,
            last_computed=max(made, default=None),
            needs_recomputation={text.state, weights.state} & {"missing", "stale"} != set(),
            text=TextEmbedding(
                state=text.state,
                problem=text.problem,
                model=text.model_key,
                computed_at=text.made_at,
            ),
            weights=WeightEmbedding(
                state=weights.state,
                problem=weights.problem,
                approximate=weights.approximate,
                profile=weights.profile and WeightProfile.model_validate(weights.profile),
                computed_at=weights.made_at,
            ),
        )

    def coverage(self) -> EmbeddingCoverage:
        """Counts by state, what is at work, and the models."""
        with self._database.read() as session:
            jobs = JobStore(session).list_unfinished(self._vectors.kinds)
            counts = {name: dict(kind.counts(session)) for name, kind in self._kinds.items()}
        return EmbeddingCoverage(
            total=sum(counts["text"].values()),
            text=counts["text"],
            weights=counts.get("weights", {}),
            jobs=[_shown(job) for job in jobs],
            mode=self._tiers.mode(),
            hint=self._tiers.hint(),
            models=[
                TextModelState(
                    mode=tier.mode,
                    model=tier.model,
                    status=tier.state.status,
                    problem=tier.state.problem,
                    memory_bytes=tier.state.memory_bytes,
                )
                for tier in self._tiers.states()
            ],
        )

    def _submit(self, names: Sequence[Kind], order: VectorOrder) -> dict[Kind, Job]:
        with self._database.write() as session:
            return {name: self._vectors.submit(session, self._kinds[name], order) for name in names}


def _with_jobs(problem: LoraManagerError, jobs: Mapping[Kind, Job]) -> LoraManagerError:
    problem.extra["job_ids"] = {name: job.id for name, job in jobs.items()}
    if jobs:
        problem.detail += " What needs no text model is computed all the same."
    return problem


def _report(
    jobs: Mapping[Kind, Job], completed_at: str | None, seconds: float, written: Written
) -> EmbeddingReport:
    errors = [
        EmbeddingError(adapter_id=error["adapter_id"], kind=name, detail=error["detail"])
        for name, job in jobs.items()
        for error in (job.result or {}).get("errors", [])
    ]
    return EmbeddingReport(
        processed_count=written.computed,
        skipped_count=written.untouched,
        error_count=sum((job.result or {}).get("failed", 0) for job in jobs.values()),
        processing_time_seconds=round(seconds, 3),
        errors=errors,
        completed_at=completed_at,
        job_id=next(iter(jobs.values())).id,
        job_ids={name: job.id for name, job in jobs.items()},
    )


def _shown(job: Job) -> EmbeddingJob:
    left = (job.steps or 0) - (job.step or 0)
    return EmbeddingJob(
        id=job.id,
        kind=job.kind,
        status=job.status,
        progress=job.progress,
        done=job.step,
        total=job.steps,
        per_second=round(left / job.eta_s, 2) if job.eta_s else None,
        eta_s=job.eta_s,
        message=job.message,
    )
