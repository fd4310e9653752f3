"""What a person does with deliveries: send a prompt on its way, look, stop, try again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lora_manager_core.common.clock import utc_text
from lora_manager_core.common.words import comma_list
from lora_manager_core.db.models import Job, JobAttempt
from lora_manager_core.db.unit_of_work import Database, WriteSession
from lora_manager_core.deliveries.modes import DeliveryMode
from lora_manager_core.deliveries.repository import Deliveries, DeliveryQuery
from lora_manager_core.deliveries.schemas import (
    Attempt,
    DeliveryCreate,
    DeliveryPage,
    DeliveryRecord,
    DeliverySummary,
    ListQuery,
)
from lora_manager_core.errors import (
    DeliveryNotFound,
    IdempotencyKeyReused,
    NothingToRetry,
    Unprocessable,
)
from lora_manager_core.queueing.base import CANCELLED, FAILED
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.queueing.store import JobStore

#: Columns of a job that a delivery shows as they are.
_AS_THEY_ARE = (
    "id",
    "status",
    "progress",
    "message",
    "cancel_requested",
    "retries_left",
    "not_before",
    "retry_of",
    "created_at",
    "started_at",
    "finished_at",
)


class DeliveryService:
    """Every delivery is a job whose kind belongs to a mode; `url` is the prefix of links."""

    def __init__(self, database: Database, jobs: Jobs, modes: Sequence[DeliveryMode]) -> None:
        self._database = database
        self._jobs = jobs
        self._modes = {mode.name: mode for mode in modes}
        self._by_kind = {mode.kind: mode for mode in modes}

    def open(
        self,
        session: WriteSession,
        prompt: str,
        mode: str,
        params: Mapping[str, Any],
        **more: Any,
    ) -> Job:
        """Add a delivery within the caller's unit of work; `more` are further columns of its job.

        Raises:
            Unprocessable: an unknown mode, or parameters it does not take.
        """
        chosen = self._mode(mode)
        accepted = chosen.accept(prompt, params)
        return self._jobs.submit(
            session,
            chosen.kind,
            chosen.lane,
            accepted.payload,
            work=accepted.work,
            retries_left=chosen.retries,
            **more,
        )

    def create(self, request: DeliveryCreate, idempotency_key: str | None = None) -> str:
        """Add a delivery and give its id; the same request under the same key gives the same id.

        Raises:
            IdempotencyKeyReused: the key belongs to another request.
            Unprocessable: as `open`.
        """
        digest = _digest(request)
        with self._database.write() as session:
            if idempotency_key is not None:
                known = JobStore(session).find_by_idempotency_key(idempotency_key)
                if known is not None and known.request_digest == digest:
                    return known.id
                if known is not None:
                    raise IdempotencyKeyReused(
                        "This Idempotency-Key was used for another request; "
                        "make a new one for each delivery."
                    )
            return self.open(
                session,
                request.prompt,
                request.mode,
                request.params,
                idempotency_key=idempotency_key,
                request_digest=None if idempotency_key is None else digest,
            ).id

    def get(self, delivery_id: str, url: str) -> DeliveryRecord:
        """One delivery with its attempts; raises `DeliveryNotFound`."""
        with self._database.read() as session:
            store = JobStore(session)
            job = self._require(store.get(delivery_id), delivery_id)
            mode = self._by_kind[job.kind]
            return DeliveryRecord(
                **self._told(job, mode),
                result=mode.whole_result(session, job, url),
                attempts=[_attempt(row) for row in store.attempts(job.id)],
            )

    def browse(self, asked: ListQuery, url: str) -> DeliveryPage:
        """One page of deliveries, newest first; raises `Unprocessable` for an unknown mode."""
        names = comma_list(asked.mode) or tuple(self._modes)
        query = DeliveryQuery(
            kinds=tuple(dict.fromkeys(self._mode(name).kind for name in names)),
            statuses=comma_list(asked.status),
            created_from=None if asked.created_from is None else utc_text(asked.created_from),
            created_until=None if asked.created_until is None else utc_text(asked.created_until),
        )
        with self._database.read() as session:
            deliveries = Deliveries(session)
            filtered = deliveries.count(query)
            total = deliveries.count(DeliveryQuery(tuple(self._by_kind)))
            jobs = deliveries.page(query, asked.per_page, (asked.page - 1) * asked.per_page)
            items = []
            for job in jobs:
                mode = self._by_kind[job.kind]
                items.append(DeliverySummary(**self._told(job, mode), result=mode.result(job, url)))
        return DeliveryPage(
            items=items,
            total=total,
            filtered=filtered,
            page=asked.page,
            pages=math.ceil(filtered / asked.per_page),
            per_page=asked.per_page,
        )

    def cancel(self, delivery_id: str, url: str) -> DeliveryRecord:
        """Stop a delivery: a waiting one never starts, a running one stops at its next step.

        Raises:
            DeliveryNotFound: no such delivery.
            JobAlreadyFinished: it has ended.
        """
        with self._database.read() as session:
            self._require(JobStore(session).get(delivery_id), delivery_id)
        self._jobs.cancel(delivery_id)
        return self.get(delivery_id, url)

    def retry(self, delivery_id: str) -> str:
        """Send the same again as a new delivery, and give its id; the old one keeps its end.

        Raises:
            DeliveryNotFound: no such delivery.
            NothingToRetry: it has neither failed nor been cancelled.
        """
        with self._database.write() as session:
            job = self._require(JobStore(session).get(delivery_id), delivery_id)
            if job.status not in (FAILED, CANCELLED):
                raise NothingToRetry(
                    f"This delivery is {job.status}; only failed and cancelled ones can be retried."
                )
            return self._jobs.submit(
                session,
                job.kind,
                job.lane,
                job.payload,
                work=job.work,
                retries_left=self._by_kind[job.kind].retries,
                retry_of=job.id,
            ).id

    def _mode(self, name: str) -> DeliveryMode:
        mode = self._modes.get(name)
        if mode is None:
            known = ", ".join(self._modes)
            raise Unprocessable(f"There is no delivery mode “{name}”; there is: {known}.")
        return mode

    def _require(self, job: Job | None, delivery_id: str) -> Job:
        if job is None or job.kind not in self._by_kind:
            raise DeliveryNotFound(f"There is no delivery {delivery_id}.")
        return job

    def _told(self, job: Job, mode: DeliveryMode) -> dict[str, Any]:
        prompt, params = mode.describe(job.payload)
        return {
            **{name: getattr(job, name) for name in _AS_THEY_ARE},
            **_error(job.error),
            "prompt": prompt,
            "mode": mode.name,
            "params": params,
            "attempt_count": job.attempts,
        }


def _attempt(row: JobAttempt) -> Attempt:
    return Attempt(
        number=row.number,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        **_error(row.error),
    )


def _error(stored: Mapping[str, Any] | None) -> dict[str, str | None]:
    told = stored or {}
    return {"error": told.get("detail"), "error_code": told.get("code")}


def _digest(request: DeliveryCreate) -> str:
    """Equal for equal requests, however their JSON was written."""
    return hashlib.sha256(json.dumps(request.model_dump(), sort_keys=True).encode()).hexdigest()
