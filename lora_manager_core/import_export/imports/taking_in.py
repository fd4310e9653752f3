"""The last steps of imports and restores: stage the files, then all becomes true or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lora_manager_core.db.unit_of_work import WriteSession
from lora_manager_core.errors import LibraryChanged
from lora_manager_core.import_export.archive.contents import Archive
from lora_manager_core.import_export.imports.importer import Importer
from lora_manager_core.import_export.imports.plan import ImportPlan
from lora_manager_core.import_export.imports.staging import StagedFiles
from lora_manager_core.library.service import LibraryService
from lora_manager_core.queueing.base import JobContext, JobOutcome


class TakingIn:
    """Takes a planned archive in; a scan follows."""

    def __init__(self, importer: Importer, library: LibraryService, journals: Path) -> None:
        self._importer = importer
        self._library = library
        self._journals = journals

    def outcome(
        self,
        context: JobContext,
        archive: Archive,
        plan: ImportPlan,
        on_bytes: Callable[[int], None],
        result: Mapping[str, Any],
    ) -> JobOutcome:
        """Stage every file, and give what ends the job; it closes the archive in the end.

        Raises as `Importer.stage` does, and then nothing staged is left.
        """
        staged = StagedFiles(self._journals, context.job_id, self._importer.roots())

        def _undo() -> None:
            staged.undo()
            archive.close()

        def _store(session: WriteSession) -> None:
            try:
                self._importer.apply(session, archive, plan, staged)
            except LibraryChanged:  # this attempt is over; the next one stages anew
                _undo()
                raise

        def _done() -> None:
            staged.finish()
            archive.close()
            self._scan()

        try:
            self._importer.stage(archive, plan, staged, on_bytes)
            context.raise_if_cancelled()
        except BaseException:
            staged.undo()
            raise
        return JobOutcome(result, _store, _undo, _done)

    def _scan(self) -> None:
        """Have the names of new records resolved, and files that changed read."""
        if self._library.has_roots:
            self._library.start_scan()
