"""Puts hashing together: the job, moved files, and the answers about what is alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from lora_manager_core.adapters.service import AdapterService
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.local_turns import LocalTurns
from lora_manager_core.embeddings.turns import ComputeTurns
from lora_manager_core.library.alike.conflicts import NameConflicts
from lora_manager_core.library.alike.versions import ModelVersionsService
from lora_manager_core.library.hashing.job import HashJob
from lora_manager_core.library.hashing.known import KnownHashes, NothingKnown
from lora_manager_core.library.hashing.moved import MovedFiles
from lora_manager_core.library.hashing.service import HashingService
from lora_manager_core.queueing.base import GPU_LANE
from lora_manager_core.queueing.runner import JobRunner
from lora_manager_core.queueing.service import Jobs
from lora_manager_core.settings import Settings
from lora_manager_core.web.deps import ServiceRegistry


def add_hashing(
    services: ServiceRegistry,
    runner: JobRunner,
    roots: Callable[[], Sequence[Path]],
    turns: ComputeTurns | None,
    known: KnownHashes | None,
) -> HashingService:
    """`turns` and `known` are what a home brings along; None means those of a server of its own."""
    database, settings = services.get(Database), services.get(Settings)
    services.add(NameConflicts(database))
    services.add(ModelVersionsService(database))
    moved = MovedFiles(database, roots)
    job = HashJob(
        database,
        turns or LocalTurns(partial(runner.runs, GPU_LANE)),
        known or NothingKnown(),
        moved,
    )
    return services.add(
        HashingService(
            database,
            services.get(Jobs),
            runner,
            services.get(AdapterService),
            job,
            moved,
            roots,
            settings.auto_hash,
        )
    )
