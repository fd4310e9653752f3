"""The catalogue in memory, brought up to date by the counters of the database at each question."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.unit_of_work import Database, ReadSession
from lora_manager_core.embeddings.base import TextEmbedder
from lora_manager_core.embeddings.text import Texts, adapter_texts
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.queueing.base import JobCancelled
from lora_manager_core.recommendations.catalogue.entry import Entry
from lora_manager_core.recommendations.catalogue.repository import CatalogueRows
from lora_manager_core.recommendations.vectors.repository import adapter_text_rows
from lora_manager_core.recommendations.vectors.sketch_repository import SketchStore

if TYPE_CHECKING:
    from lora_manager_core.recommendations.catalogue.contents import Contents
    from lora_manager_core.recommendations.catalogue.snapshot import Snapshot

__all__ = ["CatalogueIndex", "Entry", "IndexState"]

#: `on_stale` is told again while something is stale, in case what it began came to nothing.
_TELL_AGAIN_S = 60.0
#: Adapters changed at once.
_PORTION = 500


@dataclass(frozen=True, slots=True)
class IndexState:
    """How the catalogue in memory stands; `updated_at` is None before the first question."""

    is_fresh: bool
    updated_at: str | None
    stale: int
    memory_bytes: int


class CatalogueIndex:
    """Gives snapshots; `on_stale` is told when adapters have no vectors of what they are now.

    It has to return at once. Any number of threads may ask; while one brings the catalogue up to
    date, the others wait for that.
    """

    def __init__(
        self, database: Database, tiers: TextTiers, on_stale: Callable[[], object]
    ) -> None:
        self._database = database
        self._tiers = tiers
        self._on_stale = on_stale
        self._lock = threading.Lock()
        self._is_asked = threading.Event()
        self._contents: Contents | None = None
        self._snapshot: Snapshot | None = None
        self._marks: set[tuple[str, int, str]] = set()
        self._read = (-1, 0)
        self._stale = 0
        self._tell_at = 0.0
        self._updated_at: str | None = None

    def snapshot(self) -> Snapshot:
        """The catalogue as it is now; the same object for as long as nothing changes."""
        embedder = self._tiers.best()
        self._is_asked.set()
        with self._lock:
            snapshot = self._brought_up_to_date(embedder)
            tell = self._stale > 0 and time.monotonic() >= self._tell_at
            if tell:
                self._tell_at = time.monotonic() + _TELL_AGAIN_S
        if tell:
            self._on_stale()
        return snapshot

    def warm_up(self, is_cancelled: Callable[[], bool]) -> None:
        """Read everything but vectors before anybody asks, resting as long as working.

        Does nothing once somebody asked; who asks meanwhile waits for the rest, without rests.
        """
        with self._lock, suppress(JobCancelled):
            if self._snapshot is None and not self._is_asked.is_set():
                self._brought_up_to_date(None, partial(self._rest, is_cancelled))

    def rebuild(self) -> Snapshot:
        """Forget everything and read it anew; nobody has to."""
        embedder = self._tiers.best()
        with self._lock:
            self._contents = self._snapshot = None
            return self._brought_up_to_date(embedder)

    def state(self) -> IndexState:
        """How it stands; brings nothing up to date."""
        with self._lock, self._database.read() as session:
            return IndexState(
                is_fresh=self._snapshot is not None and self._read == _revisions(session),
                updated_at=self._updated_at,
                stale=self._stale,
                memory_bytes=self._snapshot.memory_bytes if self._snapshot is not None else 0,
            )

    def _rest(self, is_cancelled: Callable[[], bool], worked_s: float) -> None:
        self._is_asked.wait(worked_s)
        if is_cancelled():
            raise JobCancelled

    def _brought_up_to_date(
        self, embedder: TextEmbedder | None, rest: Callable[[float], None] = lambda _worked_s: None
    ) -> Snapshot:
        from lora_manager_core.recommendations.catalogue.contents import Contents
        from lora_manager_core.weights.method import METHOD

        with self._database.read() as session:
            revisions = _revisions(session)
            if (
                self._snapshot is not None
                and revisions == self._read
                and embedder is self._snapshot.embedder
            ):
                return self._snapshot
            # Taken away until the end: what was changed half, say because the database went away,
            # is read anew.
            contents, self._contents, self._snapshot = self._contents, None, None
            if contents is None:
                contents, self._marks, self._read = Contents(METHOD), set(), (-1, 0)
            adapters, embeddings = self._read
            if revisions[0] != adapters:
                self._follow_adapters(session, contents, rest)
            self._follow_vectors(session, contents, embedder, embeddings)
        snapshot, self._stale = contents.snapshot(embedder, partial(_sketch, self._database))
        self._contents, self._snapshot, self._read = contents, snapshot, revisions
        self._tell_at = 0.0
        self._updated_at = utc_now()
        return snapshot

    def _follow_adapters(
        self, session: ReadSession, contents: Contents, rest: Callable[[float], None]
    ) -> None:
        rows = CatalogueRows(session)
        marks = rows.marks()
        changed = [mark[0] for mark in marks - self._marks]
        contents.remove({mark[0] for mark in self._marks - marks}.difference(changed))
        for start in range(0, len(changed), _PORTION):
            started = time.perf_counter()
            portion = changed[start : start + _PORTION]
            texts = _texts(session, portion)
            for entries in rows.entries(portion):
                contents.put([(entry, texts[entry.id]) for entry in entries])
            rest(time.perf_counter() - started)
        self._marks = marks

    def _follow_vectors(
        self,
        session: ReadSession,
        contents: Contents,
        embedder: TextEmbedder | None,
        since: int,
    ) -> None:
        rows = CatalogueRows(session)
        known = contents.vectors.key if contents.vectors is not None else None
        contents.use(embedder)
        if embedder is not None and embedder is self._tiers.wanted():
            for texts in rows.texts_since(since if known == embedder.key else 0, embedder.key):
                contents.put_text_rows(texts)
        elif embedder is not None:
            missing = contents.rows_without_vectors()
            for start in range(0, len(missing), _PORTION):
                portion = missing[start : start + _PORTION]
                ids = [contents.entries[row].id for row in portion]
                found = _texts(session, ids)
                contents.put_computed(portion, [found[i] for i in ids], embedder.encode)
        for sketches in rows.sketches_since(since):
            contents.put_sketches(sketches)


def _revisions(session: ReadSession) -> tuple[int, int]:
    read = counters.read_counters(session, (counters.ADAPTERS, counters.EMBEDDINGS))
    return read[counters.ADAPTERS], read[counters.EMBEDDINGS]


def _texts(session: ReadSession, adapter_ids: Sequence[str]) -> dict[str, Texts]:
    rows = adapter_text_rows(session, adapter_ids)
    return {row.adapter_id: adapter_texts(row.fields) for row in rows}


def _sketch(database: Database, adapter_id: str) -> bytes | None:
    with database.read() as session:
        stored = SketchStore(session).get(adapter_id)
    return stored.sketch if stored is not None else None
