"""The catalogue in memory, brought up to date by the counters of the database at each question."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.recommendations.catalogue.entry import Entry

if TYPE_CHECKING:
    from lora_manager_core.embeddings.tiers import TextTiers
    from lora_manager_core.recommendations.catalogue.snapshot import Snapshot

__all__ = ["CatalogueIndex", "Entry"]


class CatalogueIndex:
    """Gives snapshots; `on_stale` is told when adapters have no vectors of what they are now."""

    def __init__(
        self, database: Database, tiers: TextTiers, on_stale: Callable[[], object]
    ) -> None:
        self._database = database
        self._tiers = tiers
        self._on_stale = on_stale

    def snapshot(self) -> Snapshot:
        """The catalogue as it is now; the same object for as long as nothing changes."""
        raise NotImplementedError
