"""What an import did or would do, as it is told: lists are cut, counts are not."""

from __future__ import annotations

from typing import Any

from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.imports.plan import ImportPlan, PlannedAdapter

#: Entries of a list.
_MOST = 1000


def told(
    archive: Archive, plan: ImportPlan, status: str, backup_id: str | None = None
) -> dict[str, Any]:
    """The fields of `schemas.ImportResult` that come from the plan, ready for JSON."""
    return {
        "status": status,
        "maker": archive.maker,
        "created": plan.count("created"),
        "updated": plan.count("updated"),
        "unchanged": plan.count("unchanged"),
        "skipped": plan.count("skipped"),
        "files_written": len(plan.writes),
        "bytes_written": plan.bytes_to_write,
        "adapters": [_adapter(adapter) for adapter in plan.adapters[:_MOST]],
        "conflict_count": len(plan.all_conflicts),
        "conflicts": [conflict.model_dump() for conflict in plan.all_conflicts[:_MOST]],
        "ignored_count": len(archive.ignored),
        "ignored": [
            {"member": ignored.member, "reason": ignored.reason}
            for ignored in archive.ignored[:_MOST]
        ],
        "tables": dict(plan.tables.rows),
        "backup_id": backup_id,
    }


def _adapter(adapter: PlannedAdapter) -> dict[str, Any]:
    return {
        "id": adapter.id,
        "name": adapter.name,
        "status": adapter.status,
        "file_path": str(adapter.path),
        "note": adapter.note,
    }
