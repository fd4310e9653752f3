"""Which adapters may be recommended at all, and why the others may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import numpy as np

from lora_manager_core.common.base_labels import compatible
from lora_manager_core.recommendations.answers.parts import Flags
from lora_manager_core.recommendations.answers.schemas import TechnicalRequirements
from lora_manager_core.recommendations.catalogue.entry import Entry
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot

_BYTES_PER_MB = 1_000_000


class Candidates:
    """The rows that are left after each filter; `left_out` counts what each took away."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.rows: Flags = np.ones(len(snapshot.entries), dtype=np.bool_)
        self.left_out: Counter[str] = Counter()
        self._keep("file_missing_or_unreadable", snapshot.traits.usable)

    def without(self, adapter_ids: Collection[str], reason: str) -> None:
        """Leave these adapters out."""
        kept = np.ones(len(self.rows), dtype=np.bool_)
        known = (self._snapshot.row_of.get(adapter_id) for adapter_id in adapter_ids)
        kept[[row for row in known if row is not None]] = False
        self._keep(reason, kept)

    def fit(self, base_model: str | None) -> None:
        """Leave out what contradicts that base model; None: nothing is known to contradict."""
        if base_model is None:
            return
        labels, codes = self._snapshot.traits.labels, self._snapshot.traits.base_models
        fits = [label is None or compatible(label, base_model) for label in labels]
        self._keep("other_base_model", np.asarray(fits, dtype=np.bool_)[codes])

    def meet(self, wanted: TechnicalRequirements) -> None:
        """Leave out what does not meet what was asked for; what is not known of a file does not."""
        if wanted.network_type is not None:
            kind = wanted.network_type.casefold()
            self._where("network_type", lambda e: (e.network_type or "").casefold() == kind)
        if (most := wanted.max_rank) is not None:
            self._where("max_rank", lambda e: e.rank is not None and e.rank <= most)
        if (size := wanted.max_file_size_mb) is not None:
            self._where("max_file_size_mb", lambda e: e.file_size <= size * _BYTES_PER_MB)
        if (level := wanted.nsfw_max) is not None:
            self._where("nsfw_max", lambda e: e.nsfw_level <= level)

    def _where(self, reason: str, claim: Callable[[Entry], bool]) -> None:
        kept = self.rows.copy()
        for row in np.flatnonzero(self.rows):
            kept[row] = claim(self._snapshot.entries[row])
        self._keep(reason, kept)

    def _keep(self, reason: str, kept: Flags) -> None:
        gone = int((self.rows & ~kept).sum())
        if gone:
            self.left_out[reason] += gone
        self.rows = self.rows & kept
