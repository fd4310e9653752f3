"""The queries of the catalogue in memory: what changed, and the rows that did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from lora_manager_core.db.models import Adapter, TextVectors, WeightSketch
from lora_manager_core.db.unit_of_work import ReadSession
from lora_manager_core.recommendations.catalogue.entry import Entry

#: Rows read at once; ids per statement (SQLite allows 32,766 parameters).
_PORTION = 2000
#: 32 rows of 64 little-endian float16: all of a sketch that is kept in memory.
HALF_SKETCH_BYTES = 32 * 64 * 2

_ENTRY = (
    Adapter.pk,
    Adapter.id,
    Adapter.name,
    Adapter.version,
    Adapter.description,
    Adapter.author_username,
    Adapter.tags,
    Adapter.trained_words,
    Adapter.triggers,
    Adapter.archetype,
    Adapter.base_model,
    Adapter.network_type,
    Adapter.rank,
    Adapter.weight,
    Adapter.weight_min,
    Adapter.weight_max,
    Adapter.active,
    Adapter.ordinal,
    Adapter.favorite,
    Adapter.rating,
    Adapter.nsfw_level,
    Adapter.file_state,
    Adapter.file_problem,
    Adapter.file_path,
    Adapter.file_size,
    Adapter.file_mtime_ns,
    Adapter.created_at,
    Adapter.updated_at,
)
_FIRST_WORDS = 6  # tags and the two kinds of triggers are lists


@dataclass(frozen=True, slots=True)
class TextRow:
    """The text vectors of one adapter, as bytes of float16."""

    adapter_id: str
    model_key: str
    digest: str
    text: bytes | None
    tags: bytes | None


@dataclass(frozen=True, slots=True)
class SketchRow:
    """The first half of one adapter's sketch, and which file and method made it."""

    adapter_id: str
    method: int
    file_size: int
    file_mtime_ns: int
    half: bytes | None
    norm: float | None


class CatalogueRows:
    """Reads what the catalogue in memory is made of."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    def marks(self) -> set[tuple[str, int, str]]:
        """Id, row number and time of the last change of every adapter: if one differs, it changed.

        All three, since an archive brings back old times, and SQLite gives old row numbers again.
        """
        # As the driver gives it: SQLAlchemy would take three times as long, at every change.
        with closing(self._session.connection().connection.cursor()) as cursor:
            cursor.execute("SELECT id, pk, updated_at FROM adapters")
            return set(cursor.fetchall())

    def entries(self, adapter_ids: Sequence[str]) -> Iterator[list[Entry]]:
        """These adapters, in portions."""
        for start in range(0, len(adapter_ids), _PORTION):
            chunk = adapter_ids[start : start + _PORTION]
            rows = self._session.execute(select(*_ENTRY).where(Adapter.id.in_(chunk)))
            yield [_entry(row) for row in rows]

    def texts_since(self, revision: int, model_key: str) -> Iterator[list[TextRow]]:
        """Text vectors of that model written after that `embeddings_revision`, in portions."""
        query = select(
            TextVectors.adapter_id,
            TextVectors.model_key,
            TextVectors.text_digest,
            TextVectors.text_vector,
            TextVectors.tags_vector,
        ).where(TextVectors.revision > revision, TextVectors.model_key == model_key)
        streamed = self._session.execute(query.execution_options(yield_per=_PORTION))
        for rows in streamed.partitions():
            yield [TextRow(*row) for row in rows]

    def sketches_since(self, revision: int) -> Iterator[list[SketchRow]]:
        """Weight sketches written after that `embeddings_revision`, in portions."""
        query = select(
            WeightSketch.adapter_id,
            WeightSketch.method,
            WeightSketch.file_size,
            WeightSketch.file_mtime_ns,
            func.substr(WeightSketch.sketch, 1, HALF_SKETCH_BYTES),
            WeightSketch.norm,
        ).where(WeightSketch.revision > revision)
        streamed = self._session.execute(query.execution_options(yield_per=_PORTION))
        for rows in streamed.partitions():
            yield [SketchRow(*row) for row in rows]


def _entry(row: Sequence[Any]) -> Entry:
    lists = slice(_FIRST_WORDS, _FIRST_WORDS + 3)
    words = [tuple(listed or ()) for listed in row[lists]]
    keys = frozenset(tag.casefold() for tag in words[0])
    fields: tuple[Any, ...] = (*row[:_FIRST_WORDS], *words, *row[lists.stop :], keys)
    return Entry(*fields)
