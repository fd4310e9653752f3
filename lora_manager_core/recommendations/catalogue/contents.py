"""The catalogue in memory as it is built and changed; `snapshot` is what others see of it.

Memory per adapter beside its entry: 2 × 4 bytes per number of a text vector (3 KB at 384), 4 KB for
the weights, some 1 KB for its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lora_manager_core.embeddings.base import TextEmbedder
from lora_manager_core.embeddings.text import Texts
from lora_manager_core.recommendations.catalogue.columns import VectorColumn
from lora_manager_core.recommendations.catalogue.entry import Entry
from lora_manager_core.recommendations.catalogue.lexical import LexicalIndex
from lora_manager_core.recommendations.catalogue.repository import SketchRow, TextRow
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot, WordsView
from lora_manager_core.recommendations.catalogue.tokens import tokens_of, trigger_phrases
from lora_manager_core.recommendations.catalogue.traits import Traits
from lora_manager_core.recommendations.catalogue.triggers import TriggerIndex
from lora_manager_core.recommendations.catalogue.vectors import Floats, Slots

SKETCH_NUMBERS = 32 * 32
#: Words of which so many are gone, and this share of all, are indexed anew without them.
_LEAST_DEAD = 1024
_DEAD_SHARE = 0.2


class TextVectorsOf:
    """The vectors of texts and tags that one model made, and of which texts it made them."""

    def __init__(self, key: str, dimensions: int, rows: int) -> None:
        self.key = key
        self.text = VectorColumn(dimensions, rows)
        self.tags = VectorColumn(dimensions, rows)
        self.digests: list[str | None] = [None] * rows

    def keep(self, rows: Slots) -> None:
        """Only these rows stay."""
        self.text.keep(rows)
        self.tags.keep(rows)
        self.digests = [self.digests[row] for row in rows]

    def extend(self, count: int) -> None:
        """So many rows come at the end."""
        self.text.extend(count)
        self.tags.extend(count)
        self.digests += [None] * count

    def put(self, rows: Sequence[int], digests: Sequence[str], text: Floats, tags: Floats) -> None:
        """These rows were made of the texts of these digests; zeros: there was no text."""
        self.text.put(rows, text)
        self.tags.put(rows, tags)
        for row, digest in zip(rows, digests, strict=True):
            self.digests[row] = digest


class Contents:
    """Rows of everything known, changed by one thread at a time.

    `method` is that of the weight sketches that count.
    """

    def __init__(self, method: int) -> None:
        self._method = method
        self.entries: list[Entry] = []
        self.row_of: dict[str, int] = {}
        self.digests: list[str] = []
        self.vectors: TextVectorsOf | None = None
        self._phrases: list[dict[tuple[str, ...], str]] = []
        self._lexical = LexicalIndex()
        self._lexical_slots = np.zeros(0, dtype=np.int32)
        self._written = LexicalIndex()  # whole triggers as words, to look for what is typed of them
        self._written_slots = np.zeros(0, dtype=np.int32)
        self._triggers = TriggerIndex()
        self._triggers_shown = False
        self._sketches = VectorColumn(SKETCH_NUMBERS, 0)
        self._norms = np.zeros(0, dtype=np.float32)
        self._sketched: list[tuple[int, int, int] | None] = []
        # What was found of each row when it was last touched: whether its texts were shown to the
        # model, whether its sketch counts, whether it should have one.
        self._touched: set[int] = set()
        self._traits = Traits()
        self._shown = self._current = self._wanting = np.zeros(0, dtype=np.bool_)

    @property
    def memory_bytes(self) -> int:
        """What the vectors take."""
        columns = [self._sketches]
        if self.vectors is not None:
            columns += [self.vectors.text, self.vectors.tags]
        return sum(column.memory_bytes for column in columns)

    def remove(self, adapter_ids: Iterable[str]) -> None:
        """These adapters are gone."""
        gone = {self.row_of[adapter_id] for adapter_id in adapter_ids}
        if not gone:
            return
        self._judge()
        for row in gone:
            self._lexical.retire(int(self._lexical_slots[row]))
            self._written.retire(int(self._written_slots[row]))
            self._own_triggers().remove(self.entries[row].id, self._phrases[row])
        kept = [row for row in range(len(self.entries)) if row not in gone]
        self.entries = [self.entries[row] for row in kept]
        self.digests = [self.digests[row] for row in kept]
        self._phrases = [self._phrases[row] for row in kept]
        self._sketched = [self._sketched[row] for row in kept]
        rows = np.asarray(kept, dtype=np.int32)
        self._lexical_slots = self._lexical_slots[rows]
        self._written_slots = self._written_slots[rows]
        self._norms = self._norms[rows]
        self._shown, self._current = self._shown[rows], self._current[rows]
        self._wanting = self._wanting[rows]
        self._traits.keep(rows)
        self._sketches.keep(rows)
        if self.vectors is not None:
            self.vectors.keep(rows)
        self.row_of = {entry.id: row for row, entry in enumerate(self.entries)}

    def put(self, entries: Sequence[tuple[Entry, Texts]]) -> None:
        """These adapters are new or changed."""
        added = [(entry, texts) for entry, texts in entries if entry.id not in self.row_of]
        for entry, texts in entries:
            row = self.row_of.get(entry.id)
            if row is not None:
                self._change(row, entry, texts)
        if added:
            self._add(added)

    def use(self, embedder: TextEmbedder | None) -> None:
        """Compare by this model's vectors from now on; those of another are forgotten."""
        key = embedder.key if embedder is not None else None
        if embedder is None:
            self.vectors = None
            self._touched.update(range(len(self.entries)))
        elif self.vectors is None or self.vectors.key != key:
            self.vectors = TextVectorsOf(embedder.key, embedder.dimensions, len(self.entries))
            self._touched.update(range(len(self.entries)))

    def put_text_rows(self, stored: Sequence[TextRow]) -> None:
        """Stored vectors of the model in use; those of unknown adapters are passed over."""
        vectors = self.vectors
        known = [row for row in stored if row.adapter_id in self.row_of]
        if vectors is None or not known:
            return
        rows = [self.row_of[row.adapter_id] for row in known]
        self._touched.update(rows)
        vectors.put(
            rows,
            [row.digest for row in known],
            _decoded([row.text for row in known], vectors.text.dimensions),
            _decoded([row.tags for row in known], vectors.tags.dimensions),
        )

    def put_computed(
        self,
        rows: Sequence[int],
        texts: Sequence[Texts],
        encode: Callable[[Sequence[str]], Floats],
    ) -> None:
        """Vectors of the model in use, computed now because it is quick and nobody stores them."""
        if self.vectors is not None and rows:
            self._touched.update(rows)
            self.vectors.put(
                rows,
                [text.digest for text in texts],
                encode([text.text for text in texts]),
                encode([text.tags for text in texts]),
            )

    def put_sketches(self, stored: Sequence[SketchRow]) -> None:
        """Stored sketches; those of unknown adapters are passed over."""
        known = [row for row in stored if row.adapter_id in self.row_of]
        if not known:
            return
        rows = [self.row_of[row.adapter_id] for row in known]
        self._touched.update(rows)
        self._sketches.put(rows, _half_sketches([row.half for row in known]))
        for row, sketch in zip(rows, known, strict=True):
            self._norms[row] = sketch.norm or 0.0
            self._sketched[row] = (sketch.method, sketch.file_size, sketch.file_mtime_ns)

    def rows_without_vectors(self) -> list[int]:
        """Rows whose present texts were not shown to the model in use."""
        self._judge()
        return [] if self.vectors is None else np.flatnonzero(~self._shown).tolist()

    def snapshot(
        self,
        embedder: TextEmbedder | None,
        read_sketch: Callable[[str], bytes | None],
    ) -> tuple[Snapshot, int]:
        """What others see now, and how many vectors and sketches of what adapters are lack."""
        self._tidy_words()
        self._judge()
        text = tags = None
        stale = int((self._wanting & ~self._current).sum())
        if self.vectors is not None:
            stale += int((~self._shown).sum())
            text, tags = self.vectors.text.view(self._shown), self.vectors.tags.view(self._shown)
        sketches = self._sketches.view(self._current)
        self._triggers_shown = True
        snapshot = Snapshot(
            entries=tuple(self.entries),
            row_of=self.row_of,
            embedder=embedder,
            text=text,
            tags=tags,
            sketches=sketches,
            norms=np.where(sketches.known, self._norms, 0).astype(np.float32),
            words=WordsView(
                self._lexical,
                self._lexical_slots.copy(),
                self._triggers,
                list(self._phrases),
                self._written,
                self._written_slots.copy(),
            ),
            traits=self._traits.view(),
            read_sketch=read_sketch,
            memory_bytes=self.memory_bytes,
        )
        return snapshot, stale

    def _add(self, added: Sequence[tuple[Entry, Texts]]) -> None:
        start, count = len(self.entries), len(added)
        slots, written = [], []
        for entry, texts in added:
            phrases = trigger_phrases(entry.triggers)
            self.entries.append(entry)
            self.digests.append(texts.digest)
            self._phrases.append(phrases)
            self._sketched.append(None)
            self._own_triggers().add(entry.id, phrases)
            slots.append(self._lexical.add(_document(texts)))
            written.append(self._written.add(_written(entry)))
        self._lexical_slots = np.concatenate([self._lexical_slots, np.array(slots, np.int32)])
        self._written_slots = np.concatenate([self._written_slots, np.array(written, np.int32)])
        self._norms = np.concatenate([self._norms, np.zeros(count, np.float32)])
        self._sketches.extend(count)
        if self.vectors is not None:
            self.vectors.extend(count)
        self._touched.update(range(start, start + count))
        nothing = np.zeros(count, dtype=np.bool_)
        self._shown = np.concatenate([self._shown, nothing])
        self._current = np.concatenate([self._current, nothing])
        self._wanting = np.concatenate([self._wanting, nothing])
        self._traits.extend(count)
        # Anew, because snapshots have the old one.
        ids = {entry.id: start + i for i, (entry, _) in enumerate(added)}
        self.row_of = {**self.row_of, **ids}

    def _change(self, row: int, entry: Entry, texts: Texts) -> None:
        if entry.triggers != self.entries[row].triggers:
            self._own_triggers().remove(entry.id, self._phrases[row])
            self._phrases[row] = trigger_phrases(entry.triggers)
            self._triggers.add(entry.id, self._phrases[row])
            self._written.retire(int(self._written_slots[row]))
            self._written_slots[row] = self._written.add(_written(entry))
        if texts.digest != self.digests[row]:
            self._lexical.retire(int(self._lexical_slots[row]))
            self._lexical_slots[row] = self._lexical.add(_document(texts))
        self.entries[row] = entry
        self.digests[row] = texts.digest
        self._touched.add(row)

    def _judge(self) -> None:
        """Look anew at the rows that were touched."""
        for row in self._touched:
            entry = self.entries[row]
            self._traits.put(row, entry)
            mark = (self._method, entry.file_size, entry.file_mtime_ns)
            self._current[row] = self._sketched[row] == mark
            self._wanting[row] = entry.file_state == "present" and entry.file_path.lower().endswith(
                ".safetensors"
            )
            self._shown[row] = (
                self.vectors is not None and self.vectors.digests[row] == self.digests[row]
            )
        self._touched.clear()

    def _own_triggers(self) -> TriggerIndex:
        """The triggers for changing: snapshots keep the ones they were given."""
        if self._triggers_shown:
            self._triggers, self._triggers_shown = self._triggers.copy(), False
        return self._triggers

    def _tidy_words(self) -> None:
        self._lexical, self._lexical_slots = _tidied(self._lexical, self._lexical_slots)
        self._written, self._written_slots = _tidied(self._written, self._written_slots)


def _tidied(index: LexicalIndex, slots: Slots) -> tuple[LexicalIndex, Slots]:
    """Without the documents that do not count, once they are many."""
    dead = index.used - index.alive
    if dead <= max(_LEAST_DEAD, _DEAD_SHARE * index.used):
        return index, slots
    numbered = np.empty_like(slots)
    numbered[np.argsort(slots)] = np.arange(len(slots), dtype=np.int32)
    return index.without_dead(), numbered


def _written(entry: Entry) -> list[str]:
    return [" ".join(trigger.split()).casefold() for trigger in entry.triggers]


def _document(texts: Texts) -> list[str]:
    return tokens_of(texts.text)


def _decoded(blobs: Sequence[bytes | None], dimensions: int) -> Floats:
    """float16 as stored, as float32; zeros for None, and for what is not that long."""
    nothing = bytes(2 * dimensions)
    joined = b"".join(
        blob if blob is not None and len(blob) == len(nothing) else nothing for blob in blobs
    )
    decoded = np.frombuffer(joined, dtype="<f2").reshape(len(blobs), dimensions)
    return decoded.astype(np.float32)


def _half_sketches(halves: Sequence[bytes | None]) -> Floats:
    """The 32 × 32 sub-blocks of sketches of which the first 32 rows of 64 are given; of norm 1."""
    blocks = _decoded(halves, 32 * 64).reshape(-1, 32, 64)[:, :, :32].reshape(-1, SKETCH_NUMBERS)
    norms = np.linalg.norm(blocks, axis=1, keepdims=True)
    return np.divide(blocks, norms, out=np.zeros_like(blocks), where=norms > 0)
