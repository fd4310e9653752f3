"""One adapter of a group of duplicates, whichever way they were found."""

from __future__ import annotations

from typing import Any

from lora_manager_core.adapters.writer import is_untouched


def group_member(row: Any, r95: float | None = None, norm: float | None = None) -> dict[str, Any]:
    """A row of `AlikeRows.members` as `GroupMember`, with what is known of its weights."""
    return {
        "lora_id": row.id,
        "lora_name": row.name,
        "file_path": row.file_path,
        "file_size": row.file_size,
        "file_state": row.file_state,
        "touched": not is_untouched(row) or row.active or row.use_count > 0,
        "active": row.active,
        "use_count": row.use_count,
        "created_at": row.created_at,
        "layout": row.network_type,
        "base_model": row.base_model,
        "rank": row.rank,
        "r95": r95,
        "norm": norm,
    }
