"""What a scan calls a record: as SD.Next calls the file, told apart by folder where two collide."""

from __future__ import annotations

from collections.abc import Collection

from lora_manager_core.common.lora_tokens import writable_name
from lora_manager_core.common.words import numbered_name


def record_name(stem: str, folder: str, taken: Collection[str]) -> str:
    """A free name for a file: its stem with `.` as `_`; else its folder before it; else a number.

    Characters that no prompt token can hold become `_`. `folder` is relative to the root, with `/`.
    """
    plain = writable_name(stem.replace(".", "_")).strip() or "unnamed"
    if plain not in taken:
        return plain
    return numbered_name(writable_name(f"{folder}/{plain}") if folder else plain, taken)
