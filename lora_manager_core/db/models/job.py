"""The tables of work and of access: jobs, their attempts, API keys, and small saved choices."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lora_manager_core.db.models.adapter import UTC_TEXT
from lora_manager_core.db.models.base import Base
from lora_manager_core.db.types import JsonText


class Job(Base):
    """One piece of background work. `status` moves by compare-and-set only (`queueing.store`).

    `work` is how much there is to do in a unit of the job's kind (for pictures, megapixel steps),
    so that measured durations of past jobs tell how long this one will take.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(50))
    lane: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(10), default="pending")
    payload: Mapped[dict[str, Any]] = mapped_column(JsonText, default=dict)
    result: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    error: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    step: Mapped[int | None] = mapped_column(Integer)
    steps: Mapped[int | None] = mapped_column(Integer)
    eta_s: Mapped[float | None] = mapped_column(Float)
    message: Mapped[str | None] = mapped_column(Text)
    work: Mapped[float] = mapped_column(Float, default=1.0, server_default="1")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    retries_left: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    not_before: Mapped[str | None] = mapped_column(UTC_TEXT)
    idempotency_key: Mapped[str | None] = mapped_column(String(200))
    request_digest: Mapped[str | None] = mapped_column(String(64))
    retry_of: Mapped[str | None] = mapped_column(String(36))
    lease_owner: Mapped[str | None] = mapped_column(String(100))
    lease_until: Mapped[str | None] = mapped_column(UTC_TEXT)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)
    started_at: Mapped[str | None] = mapped_column(UTC_TEXT)
    finished_at: Mapped[str | None] = mapped_column(UTC_TEXT)

    __table_args__ = (
        Index("ix_jobs_by_status", "status", "created_at"),
        Index("ix_jobs_by_kind", "kind", "created_at"),
        Index("ix_jobs_by_created", "created_at", "id"),
        Index("ix_jobs_by_outcome", "kind", "status", "finished_at"),
        Index("ix_jobs_by_finished", "finished_at", "id"),
        Index("ix_jobs_by_idempotency_key", "idempotency_key", unique=True),
    )


class JobAttempt(Base):
    """One time that a job was begun. `outcome` is null while it runs; then a job's end state, or
    `released` (its process stopped in order) or `abandoned` (its process died).
    """

    __tablename__ = "job_attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    owner: Mapped[str] = mapped_column(String(100))
    started_at: Mapped[str] = mapped_column(UTC_TEXT)
    ended_at: Mapped[str | None] = mapped_column(UTC_TEXT)
    outcome: Mapped[str | None] = mapped_column(String(10))
    error: Mapped[dict[str, Any] | None] = mapped_column(JsonText)


class ApiKey(Base):
    """A key that opens the API; only its SHA-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    label: Mapped[str] = mapped_column(String(200))
    key_hash: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)


class Choice(Base):
    """A choice made in the page and kept, such as whether the active set is injected."""

    __tablename__ = "choices"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[Any] = mapped_column(JsonText)
