"""Rows of a catalogue whose files nobody reads."""

from __future__ import annotations

import uuid
from typing import Any

from lora_manager_core.adapters.writer import search_text
from lora_manager_core.common.clock import utc_now


def adapter_row(name: str, **columns: Any) -> dict[str, Any]:
    """A record of that name as a scan of `/models/<folder>/<name>.safetensors` adds it."""
    folder = columns.get("folder", "")
    path = "/".join(part for part in ("/models", folder, f"{name}.safetensors") if part)
    row = {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, path)),
        "name": name,
        "name_key": name.casefold(),
        "file_path": path,
        "file_key": path,
        "origin": "scan",
        "tags": [],
        "created_at": utc_now(),
        "updated_at": utc_now(),
        **columns,
    }
    return {**row, "search_text": search_text(row)}
