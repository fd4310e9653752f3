"""The tables in which people put adapters together: collections, and stacks with their weights."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lora_manager_core.db.models.adapter import UTC_TEXT
from lora_manager_core.db.models.base import Base
from lora_manager_core.db.types import JsonText


class Collection(Base):
    """A named set of adapters: chosen by hand, or those that a saved search finds just now.

    `query` holds the fields of `adapters.schemas.ListQuery` that were given; without one the
    adapters are those of `collection_adapters`. `name_key` is the name without case.
    """

    __tablename__ = "collections"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(200), unique=True)
    description: Mapped[str | None] = mapped_column(Text)
    query: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    position: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)
    updated_at: Mapped[str] = mapped_column(UTC_TEXT)


class CollectionAdapter(Base):
    """One adapter that a person put into a collection; it follows when the adapter's id changes."""

    __tablename__ = "collection_adapters"

    collection_id: Mapped[str] = mapped_column(
        ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True
    )
    adapter_id: Mapped[str] = mapped_column(
        ForeignKey("adapters.id", ondelete="CASCADE", onupdate="CASCADE"),
        primary_key=True,
        index=True,
    )
    position: Mapped[int] = mapped_column(Integer)
    added_at: Mapped[str] = mapped_column(UTC_TEXT)


class Stack(Base):
    """A named set of adapters with weights, to be applied or given away as a whole."""

    __tablename__ = "stacks"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(200), unique=True)
    description: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)
    updated_at: Mapped[str] = mapped_column(UTC_TEXT)


class StackedAdapter(Base):
    """One entry of a stack, with all by which its file is known again elsewhere.

    `adapter_id` is null where no record here is known to be it. `trigger_groups` names the
    optional groups of trigger words that the stack uses.
    """

    __tablename__ = "stack_entries"

    stack_id: Mapped[str] = mapped_column(
        ForeignKey("stacks.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    adapter_id: Mapped[str | None] = mapped_column(
        ForeignKey("adapters.id", ondelete="SET NULL", onupdate="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(String(500))
    version: Mapped[str | None] = mapped_column(String(200))
    file_name: Mapped[str | None] = mapped_column(String(500))
    file_sha256: Mapped[str | None] = mapped_column(String(64))
    autov2: Mapped[str | None] = mapped_column(String(10))
    base_model: Mapped[str | None] = mapped_column(String(100))
    weight: Mapped[float] = mapped_column(Float)
    weight_te: Mapped[float | None] = mapped_column(Float)
    trigger_groups: Mapped[list[str]] = mapped_column(JsonText, default=list)
