"""Reads single files again whose record is to follow at once: something was written beside them.

A scan would find it too, but only in its turn, and a request does not wait for a whole library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import WriteSession
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.ingest import merge_columns
from lora_manager_core.library.repository import LibraryWriter
from lora_manager_core.library.walk import find_files


class RecordRenewal:
    """First `read`, which takes its time with the disk; then `store` within a unit of work."""

    def __init__(self, library_roots: Callable[[], Sequence[Path]]) -> None:
        self._library_roots = library_roots

    def read(
        self, paths: Iterable[str], look_up: Mapping[str, Any] | None = None
    ) -> dict[str, dict[str, Any]]:
        """The columns of these model files as a scan would fill them; those gone are left out.

        `look_up` is what a provider said of them, see `side_files.read_side_files`.
        """
        found = find_files(map(Path, paths), self._library_roots())
        return {path: columns_from_file(file, look_up) for path, file in found.items()}

    def store(
        self,
        session: WriteSession,
        adapters: Sequence[Adapter],
        rows: Mapping[str, Mapping[str, Any]],
    ) -> list[str]:
        """Bring records up to date with what `read` gave for their files; gives their ids.

        What a person set stays, and so does what is known from a richer source.
        """
        now = utc_now()
        changes, ids = [], []
        for adapter in adapters:
            row = rows.get(adapter.file_path)
            if row is not None:
                changes.append({**merge_columns(adapter, row), "pk": adapter.pk, "updated_at": now})
                ids.append(adapter.id)
        LibraryWriter(session).update_rows(changes)
        return ids
