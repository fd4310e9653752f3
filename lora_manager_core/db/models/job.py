"""The tables of work and of access: jobs, stored pictures, API keys, and small saved choices."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lora_manager_core.db.models.adapter import UTC_TEXT
from lora_manager_core.db.models.base import Base
from lora_manager_core.db.types import JsonText


class Job(Base):
    """One piece of background work. `status` moves by compare-and-set only (`queueing.store`)."""

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
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(100))
    lease_until: Mapped[str | None] = mapped_column(UTC_TEXT)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)
    started_at: Mapped[str | None] = mapped_column(UTC_TEXT)
    finished_at: Mapped[str | None] = mapped_column(UTC_TEXT)

    __table_args__ = (
        Index("ix_jobs_by_status", "status", "created_at"),
        Index("ix_jobs_by_kind", "kind", "created_at"),
    )


class ResultImage(Base):
    """One picture of one finished generation; the file lies in the output folder."""

    __tablename__ = "result_images"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    file_path: Mapped[str] = mapped_column(Text)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    seed: Mapped[int] = mapped_column(BigInteger)
    infotext: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)


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
