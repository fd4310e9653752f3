"""The columns of records that are made or changed: the archive's word, and where the file is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_manager_core.adapters.writer import SEARCHED, search_text
from lora_manager_core.common.clock import utc_now
from lora_manager_core.common.paths import is_inside, path_key
from lora_manager_core.import_export.imports.plan import PlannedAdapter
from lora_manager_core.library.columns import columns_from_file
from lora_manager_core.library.side_files import read_side_files
from lora_manager_core.library.walk import FoundFile


def new_row(
    adapter: PlannedAdapter, found: FoundFile | None, roots: Sequence[Path]
) -> dict[str, Any]:
    """A record that is made; `found` is its model file, if that is there and to be looked at."""
    now = utc_now()
    row: dict[str, Any] = {}
    if adapter.from_file:
        row = _from_file(found) if found is not None else {"tags": []}
        row.update(origin="scan", edited_fields=[], created_at=now, updated_at=now)
    row.update(adapter.change)
    row.update(
        id=adapter.id,
        name_key=row["name"].casefold(),
        version_key=row.get("version") or "",
        prompt_name=None,
        prompt_name_problem=None,
        **_place(adapter, found, roots),
    )
    row["search_text"] = search_text(row)
    return row


def changed_row(
    adapter: PlannedAdapter,
    ours: Mapping[str, Any],
    found: FoundFile | None,
    roots: Sequence[Path],
) -> dict[str, Any]:
    """The columns to set on a record that is here, as `update_rows` takes them."""
    assert adapter.known is not None
    row = {name: value for name, value in adapter.change.items() if name != "id"}
    row.setdefault("updated_at", utc_now())
    if "name" in row:
        row["name_key"] = row["name"].casefold()
    if "version" in row:
        row["version_key"] = row["version"] or ""
    if found is not None:
        row.update(_place(adapter, found, roots))
        if row["file_key"] != adapter.known.file_key:
            row.update(prompt_name=None, prompt_name_problem=None)
    if any(name in row for name in SEARCHED):
        row["search_text"] = search_text({**ours, **row})
    row["pk"] = adapter.known.pk
    return row


def _place(
    adapter: PlannedAdapter, found: FoundFile | None, roots: Sequence[Path]
) -> dict[str, Any]:
    if found is None:
        folder = adapter.path.parent
        root = next((root for root in roots if is_inside(folder, root)), folder)
        inner = folder.resolve().relative_to(root.resolve()).as_posix()
        return {
            "file_path": str(adapter.path),
            "file_key": path_key(adapter.path),
            "folder": "" if inner == "." else inner,
            "file_state": "present" if adapter.found else "missing",
            "primary_file_local_path": str(adapter.path),
            "side_signature": "",
            "json_file_path": None,
            "preview_path": None,
        }
    folder_path, name = os.path.split(found.path)
    side = read_side_files(folder_path, found.stem, found.neighbours)
    mtime_ns = side.json_file_mtime_ns
    return {
        "file_path": found.path,
        "file_key": found.key,
        "folder": found.folder,
        "file_state": "present",
        "file_size": found.size,
        "file_mtime_ns": found.mtime_ns,
        "side_signature": found.side_signature,
        "primary_file_name": name,
        "primary_file_size_kb": round(found.size / 1024, 3),
        "primary_file_local_path": found.path,
        "json_file_path": side.json_file_path,
        "json_file_mtime": None if mtime_ns is None else mtime_ns / 1e9,
        "json_file_size": side.json_file_size,
        "preview_path": str(Path(folder_path, side.preview_path)) if side.preview_path else None,
    }


def _from_file(found: FoundFile) -> dict[str, Any]:
    columns = columns_from_file(found)
    del columns["stem"]
    return columns
