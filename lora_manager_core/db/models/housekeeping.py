"""The tables of what can be undone, of files in the bin, and of what providers said of files."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from lora_manager_core.db.models.adapter import UTC_TEXT
from lora_manager_core.db.models.base import Base
from lora_manager_core.db.types import JsonText


class UndoEntry(Base):
    """One bulk edit, deletion or move that can be taken back; `before` is what there was.

    `state`: `open`, `undone`, or `expired` once something made it impossible. `record_count` is how
    many records it concerns. `before` comes last: SQLite reads past it to what is behind.
    """

    __tablename__ = "undo_entries"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(30))
    title: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(10))
    record_count: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[str] = mapped_column(UTC_TEXT)
    undone_at: Mapped[str | None] = mapped_column(UTC_TEXT)
    before: Mapped[dict[str, Any]] = mapped_column(JsonText)

    __table_args__ = (Index("ix_undo_entries_by_created", "created_at"),)


class BinnedFile(Base):
    """One file that was moved into the bin of the data folder, and where it lay."""

    __tablename__ = "binned_files"

    undo_id: Mapped[str] = mapped_column(
        ForeignKey("undo_entries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    file_path: Mapped[str] = mapped_column(Text)
    bin_name: Mapped[str] = mapped_column(Text)
    file_size: Mapped[int] = mapped_column(BigInteger)
    file_mtime_ns: Mapped[int] = mapped_column(BigInteger)


class LookUp(Base):
    """What a provider said of one file, by its SHA-256; `answer` is None where it knew none."""

    __tablename__ = "look_ups"

    provider: Mapped[str] = mapped_column(String(30), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    found: Mapped[bool] = mapped_column(Boolean)
    answer: Mapped[dict[str, Any] | None] = mapped_column(JsonText)
    asked_at: Mapped[str] = mapped_column(UTC_TEXT)
