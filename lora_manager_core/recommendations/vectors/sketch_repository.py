"""The queries of weight sketches: what is stored, what is due, and putting new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, insert, not_, or_, select

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.models import Adapter, WeightSketch
from lora_manager_core.db.unit_of_work import ReadSession, WriteSession

#: Ids per statement (SQLite allows 32,766 parameters).
_CHUNK = 5000


@dataclass(frozen=True, slots=True)
class StoredSketch:
    """One row without its profile. `sketch` is 64 × 64 little-endian float16 of norm 1, or None.

    It belongs to the file of that size and time stamp; `revision` is that of the counter
    `embeddings_revision` when it was written.
    """

    adapter_id: str
    method: int
    file_size: int
    file_mtime_ns: int
    sketch: bytes | None
    norm: float | None
    approximate: bool
    problem: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class DueFile:
    """A model file whose weights have not been looked at since it changed."""

    adapter_id: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class NewSketch:
    """What came of one file: a sketch with norm and profile, or a problem."""

    file: DueFile
    method: int
    sketch: bytes | None = None
    norm: float | None = None
    approximate: bool = False
    profile: dict[str, Any] | None = None
    problem: str | None = None


_STORED = (
    WeightSketch.adapter_id,
    WeightSketch.method,
    WeightSketch.file_size,
    WeightSketch.file_mtime_ns,
    WeightSketch.sketch,
    WeightSketch.norm,
    WeightSketch.approximate,
    WeightSketch.problem,
    WeightSketch.revision,
)


class SketchStore:
    """Reads weight sketches."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def changed_since(self, revision: int) -> list[StoredSketch]:
        """All rows written after that value of `embeddings_revision`; 0 for all."""
        query = select(*_STORED).where(WeightSketch.revision > revision)
        return [StoredSketch(*row) for row in self._session.execute(query)]

    def get(self, adapter_id: str) -> StoredSketch | None:
        """The row of one adapter."""
        query = select(*_STORED).where(WeightSketch.adapter_id == adapter_id)
        row = self._session.execute(query).first()
        return StoredSketch(*row) if row is not None else None

    def profile(self, adapter_id: str) -> dict[str, Any] | None:
        """`weights.profile.Profile` of one adapter as JSON; None where there is none."""
        query = select(WeightSketch.profile).where(WeightSketch.adapter_id == adapter_id)
        return self._session.scalar(query)

    def any_due(self, method: int) -> bool:
        """Whether any file is due."""
        query = select(Adapter.pk).outerjoin(*_JOINED).where(_READABLE, _changed(method)).limit(1)
        return self._session.scalar(query) is not None

    def files(
        self, method: int, adapter_ids: Sequence[str] | None = None, current_too: bool = False
    ) -> list[DueFile]:
        """The files that are due, of these adapters or all; with `current_too`, not only those."""
        query = (
            select(Adapter.id, Adapter.file_path, Adapter.file_size, Adapter.file_mtime_ns)
            .outerjoin(*_JOINED)
            .where(_READABLE)
            .order_by(Adapter.pk)
        )
        if not current_too:
            query = query.where(_changed(method))
        if adapter_ids is None:
            return [DueFile(*row) for row in self._session.execute(query)]
        found: list[DueFile] = []
        for start in range(0, len(adapter_ids), _CHUNK):
            chunk = query.where(Adapter.id.in_(adapter_ids[start : start + _CHUNK]))
            found += [DueFile(*row) for row in self._session.execute(chunk)]
        return found

    def counts(self, method: int) -> dict[str, int]:
        """How many adapters are in each state.

        `current` have a sketch, `failed` only the reason why not, `stale` belong to another state
        of the file, `missing` were not looked at yet, `no_file` have none that could be read.
        """
        state = weight_state(method)
        query = (
            select(state, func.count(Adapter.pk))
            .select_from(Adapter)
            .outerjoin(*_JOINED)
            .group_by(state)
        )
        return {row[0]: row[1] for row in self._session.execute(query)}


class SketchWriter(SketchStore):
    """Reads and writes weight sketches."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)
        self._writing = session

    def put(self, sketches: Sequence[NewSketch]) -> None:
        """Store them in place of the old ones; adapters deleted meanwhile are passed over.

        Raises the counter `embeddings_revision` and marks the rows with it.
        """
        revision = counters.raise_counter(self._writing, counters.EMBEDDINGS)
        ids = [sketch.file.adapter_id for sketch in sketches]
        alive = set(self._writing.scalars(select(Adapter.id).where(Adapter.id.in_(ids))))
        self._writing.execute(
            delete(WeightSketch)
            .where(WeightSketch.adapter_id.in_(ids))
            .execution_options(synchronize_session=False)
        )
        now = utc_now()
        rows = [
            {
                "adapter_id": new.file.adapter_id,
                "method": new.method,
                "file_size": new.file.size,
                "file_mtime_ns": new.file.mtime_ns,
                "sketch": new.sketch,
                "norm": new.norm,
                "approximate": new.approximate,
                "profile": new.profile,
                "problem": new.problem,
                "made_at": now,
                "revision": revision,
            }
            for new in sketches
            if new.file.adapter_id in alive
        ]
        if rows:
            self._writing.execute(insert(WeightSketch), rows)


_JOINED = (WeightSketch, WeightSketch.adapter_id == Adapter.id)
#: A safetensors file that is there; other formats are never opened.
_READABLE = and_(
    Adapter.file_state == "present", func.lower(Adapter.file_path).endswith(".safetensors")
)


def weight_state(method: int) -> ColumnElement[str]:
    """The state of each adapter's weights, as `SketchStore.counts` names them."""
    return case(
        (not_(_READABLE), "no_file"),
        (WeightSketch.adapter_id.is_(None), "missing"),
        (_changed(method), "stale"),
        (WeightSketch.sketch.is_(None), "failed"),
        else_="current",
    )


def _changed(method: int) -> ColumnElement[bool]:
    """Without a row of this very file and method."""
    return or_(
        WeightSketch.adapter_id.is_(None),
        WeightSketch.method != method,
        WeightSketch.file_size != Adapter.file_size,
        WeightSketch.file_mtime_ns != Adapter.file_mtime_ns,
    )
