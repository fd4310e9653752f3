"""Puts together what lies beside adapters: previews, side files, and what providers say of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lora_manager_core.common.thumbnails import ThumbnailFolder
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.previews.service import PreviewService
from lora_manager_core.library.renewal import RecordRenewal
from lora_manager_core.settings import Settings
from lora_manager_core.web.deps import ServiceRegistry


def add_side_services(
    services: ServiceRegistry,
    roots: Callable[[], Sequence[Path]],
    thumbnails: ThumbnailFolder,
) -> None:
    """Previews of adapters."""
    database, settings = services.get(Database), services.get(Settings)
    renewal = RecordRenewal(roots)
    services.add(
        PreviewService(database, roots, settings.data_dir / "previews", thumbnails, renewal)
    )
