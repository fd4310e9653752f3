"""The tables of the catalogue: adapters, their tags, and files a person took out of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from lora_manager_core.db.models.base import Base
from lora_manager_core.db.types import JsonText

#: 27 characters: `common.clock.utc_now`.
UTC_TEXT = String(27)


class Adapter(Base):
    """One LoRA as people know it, with what its file says of itself.

    `pk` is the row number that the full-text index points to; `id` is what the world sees.
    `name_key` and `version_key` are the name without case and the version with null as "".
    `edited_fields` names what a person set: a scan never writes those. `use_count` and
    `last_used_at` are those of `run_adapters`, kept in step by triggers of the database.
    `chosen_groups` names the optional trigger groups that the active set uses.
    `file_sha256_state` is `pending`, `done`, or `failed` for the reason `file_sha256_problem`.
    `tensors_sha256` is the hash of a safetensors file behind its header, `autov3` its beginning.
    `source_model_id` and `source_version_id` are those of Civitai.
    """

    __tablename__ = "adapters"

    pk: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    id: Mapped[str] = mapped_column(String(36), unique=True)
    name: Mapped[str] = mapped_column(String(500))
    name_key: Mapped[str] = mapped_column(String(500))
    version: Mapped[str | None] = mapped_column(String(200))
    version_key: Mapped[str] = mapped_column(String(200), default="")
    canonical_version_name: Mapped[str | None] = mapped_column(String(500))
    description: Mapped[str | None] = mapped_column(Text)
    author_username: Mapped[str | None] = mapped_column(String(200))
    visibility: Mapped[str] = mapped_column(String(20), default="Public")
    published_at: Mapped[str | None] = mapped_column(String(40))
    tags: Mapped[list[str]] = mapped_column(JsonText, default=list)
    trained_words: Mapped[list[str]] = mapped_column(JsonText, default=list)
    triggers: Mapped[list[str]] = mapped_column(JsonText, default=list)
    trigger_groups: Mapped[list[Any]] = mapped_column(JsonText, default=list)
    chosen_groups: Mapped[list[str]] = mapped_column(JsonText, default=list, server_default="[]")
    weight: Mapped[float] = mapped_column(Float, default=1.0)
    active: Mapped[bool] = mapped_column(Boolean, default=False)
    ordinal: Mapped[int | None] = mapped_column(Integer)
    archetype: Mapped[str | None] = mapped_column(String(200))
    archetype_confidence: Mapped[float | None] = mapped_column(Float)
    supports_generation: Mapped[bool] = mapped_column(Boolean, default=False)
    sd_version: Mapped[str | None] = mapped_column(String(100))
    nsfw_level: Mapped[int] = mapped_column(Integer, default=0)
    activation_text: Mapped[str | None] = mapped_column(Text)
    stats: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    extra: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    favorite: Mapped[bool] = mapped_column(Boolean, default=False)
    rating: Mapped[int | None] = mapped_column(Integer)
    notes: Mapped[str | None] = mapped_column(Text)
    negative_prompt: Mapped[str | None] = mapped_column(Text)
    weight_min: Mapped[float | None] = mapped_column(Float)
    weight_max: Mapped[float | None] = mapped_column(Float)
    weight_te: Mapped[float | None] = mapped_column(Float)

    file_path: Mapped[str] = mapped_column(Text)
    file_key: Mapped[str] = mapped_column(Text)
    folder: Mapped[str] = mapped_column(Text, default="")
    file_state: Mapped[str] = mapped_column(String(10), default="present")
    file_problem: Mapped[str | None] = mapped_column(Text)
    file_size: Mapped[int] = mapped_column(BigInteger, default=0)
    file_mtime_ns: Mapped[int] = mapped_column(BigInteger, default=0)
    side_signature: Mapped[str] = mapped_column(Text, default="")
    primary_file_name: Mapped[str | None] = mapped_column(String(500))
    primary_file_size_kb: Mapped[float | None] = mapped_column(Float)
    primary_file_sha256: Mapped[str | None] = mapped_column(String(64))
    primary_file_download_url: Mapped[str | None] = mapped_column(Text)
    primary_file_local_path: Mapped[str | None] = mapped_column(Text)
    file_sha256_state: Mapped[str] = mapped_column(String(10), default="pending")
    file_sha256_problem: Mapped[str | None] = mapped_column(Text)
    autov2: Mapped[str | None] = mapped_column(String(10))
    tensors_sha256: Mapped[str | None] = mapped_column(String(64))
    autov3: Mapped[str | None] = mapped_column(String(12))
    json_file_path: Mapped[str | None] = mapped_column(Text)
    json_file_mtime: Mapped[float | None] = mapped_column(Float)
    json_file_size: Mapped[int | None] = mapped_column(BigInteger)
    preview_path: Mapped[str | None] = mapped_column(Text)
    network_type: Mapped[str | None] = mapped_column(String(30))
    base_model: Mapped[str | None] = mapped_column(String(100))
    base_model_source: Mapped[str | None] = mapped_column(String(20))
    base_model_confidence: Mapped[float | None] = mapped_column(Float)
    source_model_id: Mapped[str | None] = mapped_column(String(50))
    source_version_id: Mapped[str | None] = mapped_column(String(50))
    rank: Mapped[int | None] = mapped_column(Integer)
    alpha: Mapped[float | None] = mapped_column(Float)
    prompt_name: Mapped[str | None] = mapped_column(Text)
    prompt_name_problem: Mapped[str | None] = mapped_column(Text)

    use_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    last_used_at: Mapped[str | None] = mapped_column(UTC_TEXT)
    origin: Mapped[str] = mapped_column(String(10), default="person")
    edited_fields: Mapped[list[str]] = mapped_column(JsonText, default=list)
    search_text: Mapped[str] = mapped_column(Text, default="")
    last_ingested_at: Mapped[str | None] = mapped_column(UTC_TEXT)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)
    updated_at: Mapped[str] = mapped_column(UTC_TEXT)

    __table_args__ = (
        UniqueConstraint("name", "version_key"),
        Index("ix_adapters_by_name", "name_key", "pk"),
        Index("ix_adapters_by_created", text("created_at DESC"), "name_key"),
        Index("ix_adapters_by_updated", text("updated_at DESC"), "name_key"),
        Index(
            "ix_adapters_by_change",
            "updated_at",
            "id",
            sqlite_where=text("updated_at > created_at"),
            postgresql_where=text("updated_at > created_at"),
        ),
        Index("ix_adapters_by_size", text("file_size DESC"), "name_key"),
        Index("ix_adapters_by_use", text("use_count DESC"), "name_key"),
        Index("ix_adapters_by_last_use", text("coalesce(last_used_at, '') DESC"), "name_key"),
        Index("ix_adapters_by_rating", text("coalesce(rating, 0) DESC"), "name_key"),
        Index("ix_adapters_by_facets", "favorite", "nsfw_level", "file_state"),
        Index("ix_adapters_by_sha256", "primary_file_sha256"),
        Index("ix_adapters_by_source_model", "source_model_id"),
        Index("ix_adapters_by_base_model", "base_model", "name_key"),
        Index("ix_adapters_by_network_type", "network_type", "name_key"),
        Index("ix_adapters_by_active", "active", "ordinal"),
        Index("ix_adapters_by_file_key", "file_key"),
        Index("ix_adapters_by_folder", "folder"),
        Index("ix_adapters_by_prompt_name", "prompt_name"),
        Index(
            "ix_adapters_unhashed",
            "file_sha256_state",
            "file_state",
            "file_size",
            sqlite_where=text("file_sha256_state <> 'done'"),
            postgresql_where=text("file_sha256_state <> 'done'"),
        ),
        Index(
            "ix_adapters_not_present",
            "file_state",
            "primary_file_sha256",
            sqlite_where=text("file_state <> 'present'"),
            postgresql_where=text("file_state <> 'present'"),
        ),
    )


class AdapterTag(Base):
    """One tag of one adapter; `tag_key` is the tag without case. Kept in step by the repository."""

    __tablename__ = "adapter_tags"

    tag_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    adapter_pk: Mapped[int] = mapped_column(
        ForeignKey("adapters.pk", ondelete="CASCADE"), primary_key=True, index=True
    )
    tag: Mapped[str] = mapped_column(String(200))


class ExcludedFile(Base):
    """A model file whose record was deleted: the next scan passes it over."""

    __tablename__ = "excluded_files"

    file_key: Mapped[str] = mapped_column(Text, primary_key=True)
    file_path: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(String(500))
    excluded_at: Mapped[str] = mapped_column(UTC_TEXT)


class Counter(Base):
    """A named number that rises with every change of what it is named after.

    `adapters_revision`: the catalogue; `embeddings_revision`: text vectors and weight sketches;
    `feedback_revision`: feedback and preferences, runs, and what people think of results.
    """

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, default=0)
