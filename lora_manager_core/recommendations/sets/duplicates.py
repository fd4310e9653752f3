"""Near-duplicates and lineages in the library, by the weights of the files."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lora_manager_core.db import counters
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.library.alike.members import group_member
from lora_manager_core.library.alike.repository import AlikeRows
from lora_manager_core.library.alike.schemas import DuplicatesQuery
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.sets.classes import (
    NEAR_DUPLICATE,
    SKETCH_NOISE,
    relation_of,
)
from lora_manager_core.recommendations.sets.repository import SetRows

if TYPE_CHECKING:
    from lora_manager_core.recommendations.catalogue.snapshot import Snapshot
    from lora_manager_core.recommendations.sets.neighbours import Pair

_MOST_PAIRS = 100


class WeightDuplicates:
    """Compares all with all once for each state of the sketches."""

    def __init__(self, database: Database, index: CatalogueIndex) -> None:
        self._database = database
        self._index = index
        self._lock = threading.Lock()
        self._state: tuple[int, frozenset[str]] | None = None
        self._groups: list[tuple[str, list[Pair]]] = []

    def browse(self, asked: DuplicatesQuery) -> dict[str, Any]:
        """A page of groups as `DuplicatesAnswer`: near-duplicates first, then lineages."""
        snapshot = self._index.snapshot()
        _, known, _ = snapshot.sketch_matrix()
        with self._lock:
            groups = self._current(snapshot)
        chosen = [group for group in groups if asked.kind in (None, group[0])]
        part = chosen[(asked.page - 1) * asked.per_page : asked.page * asked.per_page]
        return {
            "items": self._described(snapshot, part),
            "total": len(groups),
            "filtered": len(chosen),
            "page": asked.page,
            "pages": math.ceil(len(chosen) / asked.per_page),
            "per_page": asked.per_page,
            "compared": int(known.sum()),
            "not_compared": int((~known).sum()),
            "wasted_bytes": None,
            "uncertainty": SKETCH_NOISE,
        }

    def _current(self, snapshot: Snapshot) -> list[tuple[str, list[Pair]]]:
        from lora_manager_core.recommendations.sets.neighbours import close_pairs, groups_of

        small, known, _ = snapshot.sketch_matrix()
        rows = known.nonzero()[0].tolist()
        ids = [snapshot.entries[row].id for row in rows]
        with self._database.read() as session:
            state = (counters.read_counter(session, counters.EMBEDDINGS), frozenset(ids))
        if state != self._state:
            pairs = close_pairs(small[rows], ids, self._read)
            near = [pair for pair in pairs if pair[2] >= NEAR_DUPLICATE]
            # A lineage whose members are all near-duplicates of each other would say nothing new.
            wider = [g for g in groups_of(pairs) if any(p[2] < NEAR_DUPLICATE for p in g)]
            found = [("near_duplicate", group) for group in groups_of(near)]
            found += [("lineage", group) for group in wider]
            found.sort(key=lambda g: (g[0] == "lineage", -len(g[1]), g[1][0][0]))
            self._groups, self._state = found, state
        return self._groups

    def _read(self, adapter_ids: Sequence[str]) -> dict[str, bytes]:
        with self._database.read() as session:
            rows = SetRows(session).sketches(adapter_ids)
        return {i: row.sketch for i, row in rows.items() if row.sketch is not None}

    def _described(
        self, snapshot: Snapshot, groups: Sequence[tuple[str, list[Pair]]]
    ) -> list[dict[str, Any]]:
        ids = {adapter_id for _, pairs in groups for pair in pairs for adapter_id in pair[:2]}
        with self._database.read() as session:
            profiles = SetRows(session).profiles(ids)
            rows = AlikeRows(session).members_of(sorted(ids))
        _, _, norms = snapshot.sketch_matrix()
        return [
            {
                "kind": kind,
                "members": [
                    group_member(
                        rows[i],
                        profiles.get(i, {}).get("r95"),
                        float(norms[snapshot.row_of[i]]),
                    )
                    for i in sorted({i for pair in pairs for i in pair[:2]})
                    if i in rows and i in snapshot.row_of
                ],
                "sha256": None,
                "wasted_bytes": None,
                "pairs": [
                    {"lora_ids": [a, b], "cosine": c, "relation": relation_of(c)}
                    for a, b, c in pairs[:_MOST_PAIRS]
                ],
                "pairs_total": len(pairs),
            }
            for kind, pairs in groups
        ]
