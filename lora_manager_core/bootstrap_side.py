"""Puts together what lies beside adapters: previews, side files, what providers say of files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lora_manager_core.common.thumbnails import ThumbnailFolder
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.lookups.civitai import CivitaiProvider
from lora_manager_core.library.lookups.job import LookUpJob
from lora_manager_core.library.lookups.service import LookUpService
from lora_manager_core.library.previews.service import PreviewService
from lora_manager_core.library.renewal import RecordRenewal
from lora_manager_core.library.side_writing.job import SideFileJob
from lora_manager_core.library.side_writing.service import SideFileService
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.settings import Settings
from lora_manager_core.web.deps import ServiceRegistry


def add_side_services(
    services: ServiceRegistry,
    runner: JobRunner,
    roots: Callable[[], Sequence[Path]],
    thumbnails: ThumbnailFolder,
) -> None:
    """Previews of adapters, look-ups at Civitai, and side files for other programs."""
    database, settings = services.get(Database), services.get(Settings)
    renewal = RecordRenewal(roots)
    previews = services.add(
        PreviewService(database, roots, settings.data_dir / "previews", thumbnails, renewal)
    )
    civitai = services.add(CivitaiProvider(settings.civitai_url, settings.civitai_key))
    jobs = services.get(Jobs)
    look_up = LookUpJob(database, civitai, renewal, previews)
    services.add(LookUpService(database, jobs, runner, look_up, civitai.name, settings.look_up))
    side_files = SideFileJob(database, roots, renewal, civitai.name)
    services.add(SideFileService(database, jobs, runner, side_files))
