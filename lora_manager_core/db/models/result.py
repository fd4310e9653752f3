"""The tables of what was made: results with their pictures, and the runs that used adapters."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Float, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from lora_manager_core.db.models.adapter import UTC_TEXT
from lora_manager_core.db.models.base import Base


class Result(Base):
    """One finished generation that left pictures, and what a person thinks of it.

    `prompt_key` is its prompt without case, for the search.
    """

    __tablename__ = "results"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    finished_at: Mapped[str] = mapped_column(UTC_TEXT)
    rating: Mapped[int | None] = mapped_column(Integer)
    is_favorite: Mapped[bool] = mapped_column(Boolean, default=False)
    prompt_key: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("ix_results_by_finished", text("finished_at DESC"), "job_id"),)


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


class GenerationRun(Base):
    """One generation that really ran, ours or one of the host's own page and API.

    It stays when its result or its job is deleted: it is what usage is counted from.
    """

    __tablename__ = "generation_runs"

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    source: Mapped[str] = mapped_column(String(10))
    job_id: Mapped[str | None] = mapped_column(String(36), unique=True)
    finished_at: Mapped[str] = mapped_column(UTC_TEXT)
    images: Mapped[int] = mapped_column(Integer)
    duration_s: Mapped[float | None] = mapped_column(Float)
    model: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index("ix_generation_runs_by_finished", "finished_at"),)


class RunAdapter(Base):
    """One adapter of one run, as its prompt had it; the name stays if the record goes."""

    __tablename__ = "run_adapters"

    run_id: Mapped[int] = mapped_column(
        ForeignKey("generation_runs.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    adapter_id: Mapped[str | None] = mapped_column(
        ForeignKey("adapters.id", ondelete="SET NULL"), index=True
    )
    name: Mapped[str] = mapped_column(Text)
    weight: Mapped[float] = mapped_column(Float)
