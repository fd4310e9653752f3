"""Search by words, kept in step one adapter at a time: BM25, and spellings of unknown words.

Documents are numbered by slot as vectors are (`vectors.VectorIndex`): a slot never changes, and
who knows how many there were sees that state.

BM25: Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009, with their usual
constants. Alikeness of spellings: Dice's coefficient over groups of three characters.
"""

from __future__ import annotations

import math
import threading
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lora_manager_core.recommendations.catalogue.tokens import trigrams
from lora_manager_core.recommendations.catalogue.vectors import Floats

_K1 = 1.2
_B = 0.75
#: Least alikeness at which one word may be a spelling of another.
_ALIKE = 0.45
#: Least alikeness at which it is taken for the word that was meant (benchmarks/recommendations.py).
_SAME = 0.5
#: Words of a vocabulary looked at for one unknown word, those with most in common.
_NEAREST = 20
_SHORTEST_SPELLED = 4


class _Postings:
    """The documents that hold one word, by rising slot; `alive` of them still count."""

    __slots__ = ("alive", "counts", "slots")

    def __init__(self) -> None:
        self.slots = array("i")
        self.counts = array("H")
        self.alive = 0

    def holds(self, slot: int) -> bool:
        at = bisect_left(self.slots, slot)
        return at < len(self.slots) and self.slots[at] == slot


class LexicalIndex:
    """Any number of threads may ask while one changes it; all wait for each other, for about
    a millisecond. Memory: some 12 bytes per word and document, and 300 per different word."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._postings: dict[str, _Postings] = {}
        self._words: list[str] = []
        self._by_trigram: dict[str, array[int]] = {}
        self._documents: list[Sequence[_Postings]] = []
        self._gone: set[int] = set()
        self._lengths = array("f")
        self._total_length = 0.0
        self._alive = 0

    @property
    def used(self) -> int:
        """How many slots were given."""
        return len(self._lengths)

    @property
    def alive(self) -> int:
        """How many of them still count."""
        return self._alive

    def add(self, tokens: Sequence[str]) -> int:
        """Add a document; gives its slot."""
        with self._lock:
            slot = len(self._lengths)
            held = []
            for word, count in Counter(tokens).items():
                postings = self._postings.get(word)
                if postings is None:
                    postings = self._new_word(word)
                postings.slots.append(slot)
                postings.counts.append(min(count, 65_535))
                postings.alive += 1
                held.append(postings)
            self._documents.append(tuple(held))
            self._lengths.append(len(tokens))
            self._total_length += len(tokens)
            self._alive += 1
            return slot

    def retire(self, slot: int) -> None:
        """A document counts no more; who asks for fewer slots than there are now may still see it.

        Its row in the postings stays until the index is made anew.
        """
        with self._lock:
            for postings in self._documents[slot]:
                postings.alive -= 1
            self._gone.add(slot)
            self._total_length -= self._lengths[slot]
            self._alive -= 1

    def without_dead(self) -> LexicalIndex:
        """A new index of the documents that count, numbered anew in their order."""
        made = LexicalIndex()
        with self._lock:
            kept = [slot for slot in range(self.used) if slot not in self._gone]
            renumbered = np.full(self.used, -1, dtype=np.int32)
            renumbered[kept] = np.arange(len(kept), dtype=np.int32)
            held: list[list[_Postings]] = [[] for _ in kept]
            for word, postings in self._postings.items():
                if not postings.alive:
                    continue
                slots = renumbered[np.frombuffer(postings.slots, dtype=np.int32)]
                counts = np.frombuffer(postings.counts, dtype=np.uint16)[slots >= 0]
                new = made._new_word(word)
                new.slots.frombytes(slots[slots >= 0].tobytes())
                new.counts.frombytes(counts.tobytes())
                new.alive = len(new.slots)
                for slot in new.slots:
                    held[slot].append(new)
            made._documents = list(held)
            made._lengths.extend(self._lengths[slot] for slot in kept)
            made._total_length, made._alive = self._total_length, len(kept)
        return made

    def bm25(self, words: Iterable[str], used: int) -> Floats:
        """Scores `(used,)` for a query of these words; each counts once."""
        with self._lock:
            asked = (self._postings.get(word) for word in words)
            return self._bm25({postings: 1.0 for postings in asked if postings}, used)

    def spellings(self, words: Iterable[str], used: int) -> Floats:
        """How near each document `(used,)` comes to the words that no document holds: 0 … 1.

        Per unknown word the alikeness of the nearest word in the document; their mean.
        """
        scores = np.zeros(used, dtype=np.float32)
        with self._lock:
            unknown = [
                word
                for word in dict.fromkeys(words)
                if len(word) >= _SHORTEST_SPELLED and not self._is_known(word)
            ]
            for word in unknown:
                best = np.zeros(used, dtype=np.float32)
                for other, alikeness in self._spelled_alike(word):
                    slots = _array(self._postings[other].slots, np.int32, used)
                    best[slots] = np.maximum(best[slots], alikeness)
                scores += best
        return scores / max(len(unknown), 1)

    def meant(self, words: Iterable[str]) -> dict[str, str]:
        """Word → the one that it seems to misspell: for those that no document holds."""
        with self._lock:
            found = {}
            for word in dict.fromkeys(words):
                if len(word) >= _SHORTEST_SPELLED and word.isalpha() and not self._is_known(word):
                    other, alikeness = max(
                        self._spelled_alike(word), key=lambda pair: pair[1], default=("", 0.0)
                    )
                    if alikeness >= _SAME:
                        found[word] = other
            return found

    def held(self, words: Iterable[str], slot: int) -> list[str]:
        """Which of these words a document holds, in their order."""
        with self._lock:
            found = []
            for word in dict.fromkeys(words):
                postings = self._postings.get(word)
                if postings is not None and postings.holds(slot):
                    found.append(word)
            return found

    def containing(self, part: str, used: int) -> list[tuple[str, list[int]]]:
        """The words with these letters in them, and the documents that hold each."""
        with self._lock:
            return [(word, self._holding(word, used)) for word in self._words if part in word]

    def spelled_like(self, word: str, used: int) -> list[tuple[str, float, list[int]]]:
        """The words spelt most like this one, how alike they are, and who holds them."""
        with self._lock:
            return [
                (other, alikeness, self._holding(other, used))
                for other, alikeness in self._spelled_alike(word)
            ]

    def has_any(self, slot: int) -> bool:
        """Whether a document has any word."""
        return bool(self._lengths[slot])

    def like(self, slot: int, used: int) -> Floats:
        """How alike documents `(used,)` are to one of them, by words: BM25 with it as the query,
        over what it reaches itself; 0 … 1."""
        with self._lock:
            weights = {
                postings: (_K1 + 1) * count / (count + _K1)
                for postings in self._documents[slot]
                for count in (postings.counts[bisect_left(postings.slots, slot)],)
            }
            scores = self._bm25(weights, used)
        return np.minimum(scores / scores[slot], 1.0) if scores[slot] > 0 else scores

    def _bm25(self, weights: Mapping[_Postings, float], used: int) -> Floats:
        scores = np.zeros(used, dtype=np.float32)
        norms = self._norm(_array(self._lengths, np.float32, used, by_slot=True))
        for postings, weight in weights.items():
            idf = self._idf(postings)
            slots = _array(postings.slots, np.int32, used)
            counts = np.frombuffer(postings.counts, dtype=np.uint16)[: len(slots)].astype(
                np.float32
            )
            scores[slots] += weight * idf * (_K1 + 1) * counts / (counts + norms[slots])
        return scores

    def _idf(self, postings: _Postings) -> float:
        # A word whose last document went is still there for who looks at an earlier state.
        holding = max(postings.alive, 1)
        return math.log1p((max(self._alive, holding) - holding + 0.5) / (holding + 0.5))

    def _norm(self, lengths: Floats) -> Floats:
        mean = self._total_length / max(self._alive, 1)
        return np.asarray(_K1 * (1 - _B + _B * lengths / max(mean, 1.0)), dtype=np.float32)

    def _holding(self, word: str, used: int) -> list[int]:
        slots = self._postings[word].slots
        return slots[: bisect_left(slots, used)].tolist()

    def _is_known(self, word: str) -> bool:
        postings = self._postings.get(word)
        return postings is not None and postings.alive > 0

    def _spelled_alike(self, word: str) -> list[tuple[str, float]]:
        own = trigrams(word)
        shared: Counter[int] = Counter()
        for trigram in own:
            shared.update(self._by_trigram.get(trigram, ()))
        found = []
        for number, common in shared.most_common(_NEAREST):
            other = self._words[number]
            alikeness = 2 * common / (len(own) + len(trigrams(other)))
            if alikeness >= _ALIKE and self._is_known(other):
                found.append((other, alikeness))
        return found

    def _new_word(self, word: str) -> _Postings:
        postings = self._postings[word] = _Postings()
        number = len(self._words)
        self._words.append(word)
        if len(word) >= _SHORTEST_SPELLED:
            for trigram in trigrams(word):
                self._by_trigram.setdefault(trigram, array("i")).append(number)
        return postings


def _array(
    values: array[int] | array[float], dtype: type[np.generic], used: int, by_slot: bool = False
) -> Floats:
    """A copy as numpy has it, cut to the slots below `used`; a view would forbid to append."""
    found = np.frombuffer(values, dtype=dtype)
    return np.array(found[: used if by_slot else np.searchsorted(found, used)])
