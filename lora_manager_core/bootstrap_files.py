"""Puts together what changes many records or moves files, and how that is taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lora_manager_core.adapters.activation import ActivationListener
from lora_manager_core.adapters.bulk import BulkService
from lora_manager_core.adapters.undo.deletions import DELETE, Deletions
from lora_manager_core.adapters.undo.edits import EDIT, Edits
from lora_manager_core.adapters.undo.recorder import UndoRecorder
from lora_manager_core.adapters.undo.service import UndoService
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.files.acts import FileActs
from lora_manager_core.library.files.bin import FileBin
from lora_manager_core.library.files.organizing import OrganizeService
from lora_manager_core.library.files.refresh import MovedFiles
from lora_manager_core.library.files.relocating import MOVE, ORGANIZE, Relocator
from lora_manager_core.library.files.service import FileService
from lora_manager_core.library.scan import LibraryScan
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.settings import Settings
from lora_manager_core.web.deps import ServiceRegistry


def add_changes(
    services: ServiceRegistry,
    roots: Callable[[], Sequence[Path]],
    on_activation: ActivationListener,
) -> None:
    """Bulk changes and deletions, the bin, and undo."""
    database, settings = services.get(Database), services.get(Settings)
    acts = services.add(FileActs(database, settings.data_dir / "journals" / "files"))
    bin_ = services.add(FileBin(database, acts, roots, settings.data_dir / "bin"))
    recorder = services.add(UndoRecorder(bin_.forget))
    services.add(BulkService(database, recorder, bin_.binning, on_activation))
    undo = services.add(UndoService(database))
    undo.register(EDIT, Edits())
    undo.register(DELETE, Deletions(bin_.returning))


def add_moves(
    services: ServiceRegistry,
    runner: JobRunner,
    scan: LibraryScan,
    roots: Callable[[], Sequence[Path]],
) -> None:
    """Renaming, moving and organising files; after `add_changes`."""
    database, acts = services.get(Database), services.get(FileActs)
    recorder, undo = services.get(UndoRecorder), services.get(UndoService)
    relocator = Relocator(database, acts, roots, MovedFiles(scan))
    services.add(FileService(database, relocator, recorder, roots))
    organizer = services.add(
        OrganizeService(database, services.get(Jobs), runner, relocator, acts, recorder, roots)
    )
    undo.register(MOVE, relocator)
    undo.register(ORGANIZE, organizer)
