"""What goes in and out of the routes of the bin."""

from __future__ import annotations

from pydantic import BaseModel


class BinEntry(BaseModel):
    """The files of one deletion."""

    undo_id: str
    title: str
    deleted_at: str
    files: int
    size_bytes: int


class BinContents(BaseModel):
    """What is in the bin, by deletion, the latest first."""

    files: int
    size_bytes: int
    entries: list[BinEntry]


class BinEmptied(BaseModel):
    """What was deleted for good."""

    files: int
    size_bytes: int
