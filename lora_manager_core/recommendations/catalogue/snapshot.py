"""One state of the catalogue, which stays as it is while somebody uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from lora_manager_core.embeddings.base import TextEmbedder
from lora_manager_core.recommendations.catalogue.columns import ColumnView
from lora_manager_core.recommendations.catalogue.entry import Entry
from lora_manager_core.recommendations.catalogue.lexical import LexicalIndex
from lora_manager_core.recommendations.catalogue.traits import TraitsView
from lora_manager_core.recommendations.catalogue.triggers import TriggerIndex
from lora_manager_core.recommendations.catalogue.vectors import Flags, Floats, Slots

_SIDE = 64


class WordsView:
    """The words of all adapters as of one moment; everything is given per row `(n,)`."""

    def __init__(
        self,
        lexical: LexicalIndex,
        slots: Slots,
        triggers: TriggerIndex,
        phrases: Sequence[Mapping[tuple[str, ...], str]],
        written: LexicalIndex,
        written_slots: Slots,
    ) -> None:
        self._lexical = lexical
        self._slots = slots
        self._used = lexical.used
        self._triggers = triggers
        self._phrases = phrases
        self._written = written
        self._written_used = written.used
        self._written_slots = written_slots

    def bm25(self, tokens: Sequence[str]) -> Floats:
        """BM25 of a query."""
        return self._lexical.bm25(tokens, self._used)[self._slots]

    def spellings(self, tokens: Sequence[str]) -> Floats:
        """How near adapters come to the words of a query that no adapter has, 0 … 1."""
        return self._lexical.spellings(tokens, self._used)[self._slots]

    def meant(self, words: Sequence[str]) -> Mapping[str, str]:
        """Words of a query that no adapter has → the word of an adapter that seems to be meant."""
        return self._lexical.meant(words)

    def like(self, row: int) -> Floats:
        """How alike adapters are to one of them, by words, 0 … 1."""
        return self._lexical.like(int(self._slots[row]), self._used)[self._slots]

    def has_any(self, row: int) -> bool:
        """Whether there is any word of one adapter."""
        return self._lexical.has_any(int(self._slots[row]))

    def held(self, tokens: Sequence[str], row: int) -> list[str]:
        """Which of these words one adapter has."""
        return self._lexical.held(tokens, int(self._slots[row]))

    def triggered(self, tokens: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Adapter id → its longest trigger phrase that is a whole token sequence of the query."""
        return self._triggers.found(tokens)

    def triggers_with(self, part: str) -> list[tuple[str, list[int]]]:
        """Triggers (without case) with these letters in them, and the rows that have each."""
        found = self._written.containing(part, self._written_used)
        return [(trigger, self._rows(slots)) for trigger, slots in found]

    def triggers_like(self, written: str) -> list[tuple[str, float, list[int]]]:
        """Triggers (without case) spelt like this, how alike 0 … 1, and the rows that have each."""
        found = self._written.spelled_like(written, self._written_used)
        return [(trigger, alike, self._rows(slots)) for trigger, alike, slots in found]

    def _rows(self, slots: Sequence[int]) -> list[int]:
        return [row for slot in slots if (row := self._row_of_written.get(slot)) is not None]

    @cached_property
    def _row_of_written(self) -> Mapping[int, int]:
        return {slot: row for row, slot in enumerate(self._written_slots.tolist())}

    def phrases(self, row: int) -> Mapping[tuple[str, ...], str]:
        """The trigger phrases of one adapter, by their tokens."""
        return self._phrases[row]


class Snapshot:
    """Rows are numbered 0 … n-1 in no order that means anything; see `row_of`.

    Nothing of it may be written to. `embedder` is whose vectors `text_cosines` compares: give it
    vectors that this embedder made; None: words are all there is.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        row_of: Mapping[str, int],
        embedder: TextEmbedder | None,
        text: ColumnView | None,
        tags: ColumnView | None,
        sketches: ColumnView,
        norms: Floats,
        words: WordsView,
        traits: TraitsView,
        read_sketch: Callable[[str], bytes | None],
        memory_bytes: int,
    ) -> None:
        self.entries = entries
        self.row_of = row_of
        self.embedder = embedder
        self.key = embedder.key if embedder is not None else None
        self.text = text
        self.tags = tags
        self.sketches = sketches
        self.norms = norms
        self.words = words
        self.traits = traits
        self.memory_bytes = memory_bytes
        self._read_sketch = read_sketch

    @property
    def text_known(self) -> Flags:
        """Which adapters have a vector of their present text `(n,)`."""
        return self._known(self.text)

    @property
    def tags_known(self) -> Flags:
        """Which have one of their present tags."""
        return self._known(self.tags)

    def tags_in_common(self, row: int) -> Floats:
        """Jaccard's coefficient of the tags (without case) of one adapter with those of all."""
        own = self.entries[row].tag_keys
        shared = np.array([len(own & entry.tag_keys) for entry in self.entries], np.float32)
        counts = np.array([len(entry.tag_keys) for entry in self.entries], np.float32)
        return np.asarray(shared / np.maximum(counts + len(own) - shared, 1), dtype=np.float32)

    def text_cosines(self, vectors: Floats) -> tuple[Floats, Flags]:
        """Cosines with the texts of all adapters: `(d,)` gives `(n,)`, `(q, d)` gives `(n, q)`.

        The mask `(n,)` says which adapters have a vector of their present text; 0 elsewhere.
        """
        return self._cosines(self.text, vectors)

    def tags_cosines(self, vectors: Floats) -> tuple[Floats, Flags]:
        """The same with their tags."""
        return self._cosines(self.tags, vectors)

    def text_matrix(self, key: str | None = None) -> tuple[Floats, Flags]:
        """All text vectors `(n, d)`, zeros where the mask is False; gathered at the first call.

        With `key`, only if that is the key of the vectors that are here.
        """
        return self._matrix(self.text if key in (None, self.key) else None)

    def tags_matrix(self, key: str | None = None) -> tuple[Floats, Flags]:
        """All tags vectors, likewise."""
        return self._matrix(self.tags if key in (None, self.key) else None)

    def sketch_matrix(self) -> tuple[Floats, Flags, Floats]:
        """Weights `(n, 1024)` of norm 1, the mask, and the norms `(n,)` of the whole changes.

        The rows are the 32 × 32 sub-blocks of the sketches; gathered at the first call.
        """
        return self.sketches.matrix, self.sketches.known, self.norms

    def sketch_cosines(self, row: int) -> tuple[Floats, Flags]:
        """Cosines `(n,)` of one adapter's weights (by 32 × 32 numbers) with all others.

        The mask says which have any; it is all False where that one has none.
        """
        known = self.sketches.known
        if not known[row]:
            nothing = np.zeros(len(self.entries), dtype=np.float32)
            return nothing, np.zeros(len(self.entries), dtype=np.bool_)
        return self.sketches.cosines(self.sketches.rows([row])[0]), known

    def sketch(self, row: int) -> Floats | None:
        """The whole sketch `(64, 64)` of norm 1, read from the database; None if it has none."""
        if not self.sketches.known[row]:
            return None
        blob = self._read_sketch(self.entries[row].id)
        if blob is None or len(blob) != 2 * _SIDE * _SIDE:
            return None
        return np.frombuffer(blob, dtype="<f2").reshape(_SIDE, _SIDE).astype(np.float32)

    def _cosines(self, column: ColumnView | None, vectors: Floats) -> tuple[Floats, Flags]:
        if column is not None:
            return column.cosines(vectors), column.known
        shape = (len(self.entries),) if vectors.ndim == 1 else (len(self.entries), len(vectors))
        return np.zeros(shape, dtype=np.float32), np.zeros(len(self.entries), dtype=np.bool_)

    def _known(self, column: ColumnView | None) -> Flags:
        return column.known if column is not None else np.zeros(len(self.entries), dtype=np.bool_)

    def _matrix(self, column: ColumnView | None) -> tuple[Floats, Flags]:
        if column is not None:
            return column.matrix, column.known
        nothing = np.zeros((len(self.entries), 1), dtype=np.float32)
        return nothing, np.zeros(len(self.entries), dtype=np.bool_)
