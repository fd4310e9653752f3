"""The tables of recommendations: what is computed of adapters, and what people said of answers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from lora_manager_core.db.models.adapter import UTC_TEXT
from lora_manager_core.db.models.base import Base
from lora_manager_core.db.types import JsonText

#: Of feedback events: what people and clients say or do, what is noticed, and `reset`, from whose
#: time on pictures count.
FEEDBACK_KINDS = (
    "positive", "negative", "activated", "ignored", "dismissed", "removed", "reset",
)  # fmt: skip
PREFERENCE_KINDS = ("archetype", "style", "technical", "author", "tag")


class TextVectors(Base):
    """The text embeddings of one adapter, or why there are none.

    `model_key` names what made them (`embeddings.base.TextEmbedder.key`), `text_digest` the texts
    they were made of: where either differs from what is true now, they are stale. As long as
    `adapter_updated_at` is the adapter's own `updated_at`, its texts need not be made anew to know
    that. Without vector and problem the adapter has no words to embed. The vectors are
    little-endian float16 of norm 1. `revision` is the value that the counter `embeddings_revision`
    had when the row was written, so that an index in memory can ask for what is new.
    """

    __tablename__ = "text_vectors"

    adapter_id: Mapped[str] = mapped_column(
        ForeignKey("adapters.id", ondelete="CASCADE"), primary_key=True
    )
    model_key: Mapped[str] = mapped_column(String(300))
    text_digest: Mapped[str] = mapped_column(String(64))
    adapter_updated_at: Mapped[str] = mapped_column(UTC_TEXT)
    text_vector: Mapped[bytes | None] = mapped_column(LargeBinary)
    tags_vector: Mapped[bytes | None] = mapped_column(LargeBinary)
    problem: Mapped[str | None] = mapped_column(Text)
    made_at: Mapped[str] = mapped_column(UTC_TEXT)
    revision: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_text_vectors_by_revision", "revision"),)


class WeightSketch(Base):
    """What one adapter's weights look like, small enough to compare: sketch, norm and profile.

    It belongs to the file of that size and time stamp and to that `method` (the version of the
    algorithm). `sketch` is 64 × 64 little-endian float16, row by row, of norm 1; `norm` is the
    Frobenius norm of the whole change of weights. `profile` is `weights.profile.Profile` as JSON.
    `problem` says why there is no sketch, or none that is exact.
    """

    __tablename__ = "weight_sketches"

    adapter_id: Mapped[str] = mapped_column(
        ForeignKey("adapters.id", ondelete="CASCADE"), primary_key=True
    )
    method: Mapped[int] = mapped_column(Integer)
    file_size: Mapped[int] = mapped_column(BigInteger)
    file_mtime_ns: Mapped[int] = mapped_column(BigInteger)
    sketch: Mapped[bytes | None] = mapped_column(LargeBinary)
    norm: Mapped[float | None] = mapped_column(Float)
    approximate: Mapped[bool] = mapped_column(Boolean, default=False)
    profile: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    problem: Mapped[str | None] = mapped_column(Text)
    made_at: Mapped[str] = mapped_column(UTC_TEXT)
    revision: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_weight_sketches_by_revision", "revision"),)


class RecommendationSession(Base):
    """One answer of recommendations: what was asked, and what was shown, best first.

    `shown` holds adapter ids with their final scores, and of a composed set also with their
    weights. Thrown away when it is old.
    """

    __tablename__ = "recommendation_sessions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    query: Mapped[str | None] = mapped_column(Text)
    target_id: Mapped[str | None] = mapped_column(String(36))
    mode: Mapped[str] = mapped_column(String(20))
    shown: Mapped[list[Any]] = mapped_column(JsonText)
    duration_ms: Mapped[float] = mapped_column(Float)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)

    __table_args__ = (Index("ix_recommendation_sessions_by_created", "created_at"),)


class FeedbackEvent(Base):
    """Something that tells what a person likes; only ever added, and deleted when reset.

    Generations and rated results are no events: they are in their own tables already. `user` is
    empty where there are no users. The adapter may be gone; a `reset` has the nil UUID for one.
    """

    __tablename__ = "feedback_events"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user: Mapped[str] = mapped_column(String(100), default="")
    kind: Mapped[str] = mapped_column(String(20))
    adapter_id: Mapped[str] = mapped_column(String(36))
    session_id: Mapped[str | None] = mapped_column(String(36))
    reason: Mapped[str | None] = mapped_column(Text)
    implicit: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)

    __table_args__ = (
        Index("ix_feedback_events_by_adapter", "adapter_id"),
        Index("ix_feedback_events_by_created", "created_at"),
    )


class Preference(Base):
    """Something a person prefers, with how sure that is (0..1).

    `explicit` is false where a client concluded it and the person did not say so.
    """

    __tablename__ = "preferences"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    user: Mapped[str] = mapped_column(String(100), default="")
    kind: Mapped[str] = mapped_column(String(20))
    value: Mapped[str] = mapped_column(String(200))
    value_key: Mapped[str] = mapped_column(String(200))
    confidence: Mapped[float] = mapped_column(Float)
    explicit: Mapped[bool] = mapped_column(Boolean, default=True)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)
    updated_at: Mapped[str] = mapped_column(UTC_TEXT)

    __table_args__ = (UniqueConstraint("user", "kind", "value_key"),)
