"""The plan of a restore: every record of the archive as it was, every file back in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lora_manager_core.common.paths import is_inside
from lora_manager_core.import_export.archive.contents import Archive, ArchivedRecord
from lora_manager_core.import_export.imports.placing import Places, stem_of
from lora_manager_core.import_export.imports.plan import (
    ImportPlan,
    PlannedAdapter,
    PlannedFile,
    Wishes,
)
from lora_manager_core.import_export.imports.record_names import give_names


def plan_restore(
    archive: Archive,
    wishes: Wishes,
    revision: int,
    places: Places,
    is_allowed: Callable[[Path], bool],
) -> ImportPlan:
    """The plan. `is_allowed` says whether a file may lie there.

    Files that are the same stay, others are written; nothing else is deleted.
    """
    plan = ImportPlan(wishes, revision)
    for record in archive.adapters():
        place = _place(record, wishes, is_allowed)
        layout = places.lay_out(record, place.parent, stem_of(place.name))
        if layout.is_claimed:
            layout = places.number(record, place.parent, stem_of(place.name))
        places.claim(record, layout)
        written = False
        for placed in layout.files if wishes.files else ():
            if not (placed.is_same or placed.is_shared):
                replace = placed.present is not None
                plan.writes.append(PlannedFile(placed.file, placed.destination, replace))
            written = written or placed.file.kind == "model"
        plan.adapters.append(
            PlannedAdapter(
                status="created",
                archived_id=record.columns.get("id"),
                id=record.columns["id"],
                name=record.columns["name"],
                path=layout.path,
                change=dict(record.columns),
                found=written or layout.path.exists(),
                refresh=written or _is_as_archived(record, layout.path),
            )
        )
    give_names(plan, (), wishes.target)
    plan.seen = places.seen if wishes.files else {}
    return plan


def _place(record: ArchivedRecord, wishes: Wishes, is_allowed: Callable[[Path], bool]) -> Path:
    if record.file_path is not None:
        path = Path(record.file_path)
        if path.is_absolute() and is_allowed(path):
            return path
    return wishes.target / record.folder / record.file_name


def _is_as_archived(record: ArchivedRecord, path: Path) -> bool:
    """Whether the file that is there can be the archived one; else the next scan reads it."""
    try:
        return path.stat().st_size == record.columns.get("file_size")
    except OSError:
        return False


def allowed_by(roots: Sequence[Path]) -> Callable[[Path], bool]:
    """Whether a file may lie in one of these folders."""
    return lambda path: any(is_inside(path.parent, root) for root in roots)
