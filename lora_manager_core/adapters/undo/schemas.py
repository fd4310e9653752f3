"""What the undo routes answer."""

from __future__ import annotations

from pydantic import BaseModel, Field


class UndoItem(BaseModel):
    """One change, and whether it can still be taken back."""

    undo_id: str
    kind: str = Field(description="`edit`, `delete`, `move` or `organize`.")
    title: str
    record_count: int
    created_at: str
    undone_at: str | None
    possible: bool
    problem: str | None = Field(description="Why it cannot be taken back, if it cannot.")


class UndoList(BaseModel):
    """The latest changes, the last one first."""

    items: list[UndoItem]


class UndoAnswer(BaseModel):
    """What was taken back: the records that are as they were."""

    undo_id: str
    kind: str
    restored: int
    ids: list[str]
