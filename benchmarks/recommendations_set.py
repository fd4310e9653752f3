"""The described adapters and queries that recommendations are measured by, and the measures.

Documents (`data/adapters.jsonl`) and queries (`data/queries.jsonl`) were written by different
people from the same neutral lines (`data/concepts.jsonl`), none seeing what the other wrote.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_manager_core.common.words import comma_list

KINDS = ("paraphrase", "keyword", "typo", "two_concepts", "trigger")
#: How many answers are looked at.
DEPTH = 10

_DATA = Path(__file__).with_name("data")
_RESAMPLES = 2000
_WORD = re.compile(r"[^\W_]+")
#: Words that say nothing of what is looked for; only for the measure of shared words.
_EMPTY = frozenset(
    comma_list(
        "a, an, and, are, as, at, be, by, for, from, has, have, i, in, into, is, it, its, like, "
        "make, makes, of, off, on, or, some, something, that, the, their, them, to, up, very, "
        "want, where, who, with, without"
    )
)


@dataclass(frozen=True)
class Document:
    """One adapter. `grade` 2: it is its concept; 1: it has it among others; 0: it has none."""

    name: str
    description: str
    tags: tuple[str, ...]
    trained_words: tuple[str, ...]
    base_model: str
    notes: str
    concept_id: str | None
    grade: int

    @property
    def raw(self) -> str:
        """All its words as they are."""
        tags, words = ", ".join(self.tags), ", ".join(self.trained_words)
        return "\n".join(filter(None, [self.name, self.description, words, tags, self.notes]))


@dataclass(frozen=True)
class Query:
    """One query; `relevant` is the grade of each concept that answers it, 2 or 1."""

    id: str
    kind: str
    text: str
    relevant: Mapping[str, int]

    @property
    def half(self) -> str:
        """Where all its concepts lie: `A`, which is tuned on, `B`, or `both`."""
        halves = {half_of(concept) for concept in self.relevant}
        return halves.pop() if len(halves) == 1 else "both"


class RecommendationSet:
    """Everything that was written, or what concerns the first few `concepts`."""

    def __init__(self, concepts: int | None = None) -> None:
        rows = _rows("concepts.jsonl")[:concepts]
        self.concepts = {row["id"]: row for row in rows}
        known = {None} | self.concepts.keys()
        self.documents = [
            document
            for document in map(_document, _rows("adapters.jsonl"))
            if document.concept_id in known
        ]
        self.queries = [
            Query(row["id"], row["kind"], row["query"], row["relevant"])
            for row in _rows("queries.jsonl")
            if row["relevant"].keys() <= known
        ]

    def half(self, document: Document) -> str | None:
        """The half of a document's concept."""
        return half_of(document.concept_id) if document.concept_id else None

    def grades(self, query: Query) -> dict[str, int]:
        """Name of each relevant adapter → its grade."""
        return {
            document.name: min(document.grade, query.relevant[document.concept_id])
            for document in self.documents
            if document.concept_id in query.relevant
        }

    def carriers(self, query: Query) -> dict[str, int]:
        """The adapters that carry the trigger a query of that kind is made of."""
        asked = {_plain(self.concepts[concept]["trigger"]) for concept in query.relevant}
        return {
            document.name: 2
            for document in self.documents
            if document.concept_id in query.relevant
            and asked & {_plain(word) for word in document.trained_words}
        }

    def shared_words(self, kind: str) -> float:
        """Share of a query's content words that stand in any relevant adapter; the mean."""
        words = {document.name: set(_content(document.raw)) for document in self.documents}
        shares = []
        for query in self.queries:
            if query.kind == kind and (asked := set(_content(query.text))):
                held = set().union(*(words[name] for name in self.grades(query)))
                shares.append(len(asked & held) / len(asked))
        return float(np.mean(shares))


def half_of(concept: str) -> str:
    """`A` or `B`, by hash."""
    return "AB"[zlib.crc32(concept.encode()) & 1]


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], depth: int = DEPTH) -> float:
    """Normalised discounted cumulative gain with gains 2^grade - 1 (Järvelin and Kekäläinen)."""
    best = sorted(grades.values(), reverse=True)
    found = [grades.get(name, 0) for name in ranked]
    return _gain(found[:depth]) / _gain(best[:depth])


def recall(ranked: Sequence[str], grades: Mapping[str, int], depth: int = DEPTH) -> float:
    """Share of the relevant that are listed, of as many as the list has room for."""
    return len(grades.keys() & set(ranked[:depth])) / min(len(grades), depth)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap confidence interval."""
    array = np.asarray(values)
    picks = np.random.default_rng(0).integers(0, len(array), (_RESAMPLES, len(array)))
    low, high = np.quantile(array[picks].mean(axis=1), [0.025, 0.975])
    return float(array.mean()), float(low), float(high)


def words_of(text: str) -> list[str]:
    """The words of a text without case; `_` stands between words."""
    return _WORD.findall(text.casefold())


def _content(text: str) -> list[str]:
    return [word for word in words_of(text) if word not in _EMPTY and len(word) > 1]


def _gain(grades: Sequence[int]) -> float:
    return sum((2**grade - 1) / math.log2(place + 2) for place, grade in enumerate(grades))


def _plain(text: str) -> str:
    return " ".join(words_of(text))


def _document(row: Mapping[str, Any]) -> Document:
    lists = {name: tuple(row[name]) for name in ("tags", "trained_words")}
    return Document(**{**row, **lists})


def _rows(name: str) -> list[dict[str, Any]]:
    lines = (_DATA / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
