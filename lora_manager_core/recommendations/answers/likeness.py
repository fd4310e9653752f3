"""How like one adapter all others are: by texts, by tags, and by weights and format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lora_manager_core.recommendations.answers.parts import Flags, Parts, Scores
from lora_manager_core.recommendations.answers.schemas import SimilarQuery
from lora_manager_core.recommendations.answers.weights import ScoreWeights
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """The parts of the scores, and the three likenesses with what they are made of.

    `counted` are the names of those that the asked adapter can be compared by, with what each
    counts of 1. The masks say for which rows there is a measured number.
    """

    parts: Parts
    counted: dict[str, float]
    text: Scores
    tags: Scores
    technical: Scores
    text_known: Flags
    tags_known: Flags
    technical_known: Flags
    sketch: Scores
    by_words: bool


def compare(snapshot: Snapshot, row: int, asked: SimilarQuery, weights: ScoreWeights) -> Likeness:
    """Compare one row with all.

    What it has not (no text, no tags, no sketch of its weights) does not count at all; what only
    the other has not counts as not alike.
    """
    text, text_known = _texts(snapshot, row)
    tags, tags_known = _tags(snapshot, row)
    sketch, sketched = snapshot.sketch_cosines(row)
    formats, formats_known = snapshot.traits.formats_like(row)
    technical = np.where(
        sketched, weights.sketch * np.maximum(sketch, 0) + (1 - weights.sketch) * formats, 0
    )
    shares = {}
    if snapshot.words.has_any(row):
        shares["text"] = asked.weight_semantic
    if snapshot.entries[row].tags:
        shares["tags"] = asked.weight_artistic
    if sketched[row]:
        shares["weights"] = asked.weight_technical
    total = sum(shares.values())
    counted = {name: share / total for name, share in shares.items() if share and total}
    parts = Parts(len(snapshot.entries))
    for name, values in (("text", text), ("tags", tags), ("weights", technical)):
        parts.put(name, counted.get(name, 0.0) * values)
    return Likeness(
        parts=parts,
        counted=counted,
        text=text,
        tags=tags,
        technical=technical.astype(np.float32),
        text_known=text_known,
        tags_known=tags_known,
        technical_known=sketched & formats_known,
        sketch=sketch,
        by_words=not _has(snapshot, row),
    )


def _has(snapshot: Snapshot, row: int) -> bool:
    return snapshot.text is not None and bool(snapshot.text.known[row])


def _texts(snapshot: Snapshot, row: int) -> tuple[Scores, Flags]:
    """By vectors where both have one, else by words."""
    known = np.zeros(len(snapshot.entries), dtype=np.bool_)
    if snapshot.text is None or not snapshot.text.known[row]:
        return snapshot.words.like(row), known
    cosines, known = snapshot.text_cosines(snapshot.text.rows([row])[0])
    if not known.all():
        cosines = np.where(known, cosines, snapshot.words.like(row))
    return np.maximum(cosines, 0), known


def _tags(snapshot: Snapshot, row: int) -> tuple[Scores, Flags]:
    """By vectors where both have one, else by the share of tags they have in common."""
    known = np.zeros(len(snapshot.entries), dtype=np.bool_)
    if snapshot.tags is None or not snapshot.tags.known[row]:
        return snapshot.tags_in_common(row), known
    cosines, known = snapshot.tags_cosines(snapshot.tags.rows([row])[0])
    return np.maximum(cosines, 0), known
