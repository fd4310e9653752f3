"""How well each adapter fits a prompt: recommendations.md, section 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lora_manager_core.embeddings.prompts import Segments
from lora_manager_core.recommendations.answers.parts import Flags, Parts, Scores
from lora_manager_core.recommendations.answers.weights import ScoreWeights
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot
from lora_manager_core.recommendations.catalogue.tokens import split_unspaced


@dataclass(frozen=True, slots=True, eq=False)
class PromptFit:
    """The parts of the scores, and what an explanation needs of them.

    `text` and `tags` are the best cosines per row; `part` the part of the prompt they are with.
    """

    parts: Parts
    segments: Segments
    tokens: list[str]
    text: Scores
    tags: Scores
    text_known: Flags
    tags_known: Flags
    part: list[int] | None = None
    triggered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def score_prompt(
    snapshot: Snapshot,
    asked: Segments,
    vectors: Scores | None,
    style: Scores | str | None,
    among: Flags,
    weights: ScoreWeights,
) -> PromptFit:
    """Score all rows; only those `among` are compared with each other.

    `vectors` `(q, d)` are those of the parts of the prompt, None where words are all there is;
    `style` a vector, or words likewise. An adapter without a vector is judged by its words, on the
    scale of the best cosine.
    """
    count = len(snapshot.entries)
    parts = Parts(count)
    tokens = split_unspaced(asked.words)
    words = snapshot.words.bm25(tokens)
    most = float(words[among].max(initial=0))
    words = words / most if most else words
    text = tags = np.zeros(count, dtype=np.float32)
    text_known = tags_known = np.zeros(count, dtype=np.bool_)
    part = None
    if vectors is not None and len(vectors):
        by_text, text_known = snapshot.text_cosines(vectors)
        by_tags, tags_known = snapshot.tags_cosines(vectors)
        text, tags = by_text.max(axis=1), by_tags.max(axis=1)
        says_text = text_known & (~tags_known | (text >= weights.tags * tags))
        says_tags = tags_known & ~says_text
        parts.put("text", np.where(says_text, weights.text * text, 0))
        parts.put("tags", np.where(says_tags, weights.text * weights.tags * tags, 0))
        part = np.where(says_text, by_text.argmax(axis=1), by_tags.argmax(axis=1)).tolist()
        known = text_known | tags_known
        best = np.where(says_text, text, weights.tags * tags)[known & among]
        top = max(float(best.max(initial=0)), 0.0) if len(best) else 1.0
        parts.put("words", (weights.words + np.where(known, 0, weights.text * top)) * words)
    else:
        parts.put("words", weights.text * words)
    parts.put("spelling", weights.spelling * snapshot.words.spellings(tokens))
    triggered = snapshot.words.triggered(tokens)
    hit = np.zeros(count, dtype=np.float32)
    for adapter_id, phrase in triggered.items():
        row = snapshot.row_of.get(adapter_id)
        if row is not None and phrase in snapshot.words.phrases(row):
            hit[row] = 1
    parts.put("trigger", weights.trigger * hit)
    if style is not None:
        parts.put("style", weights.style * _style(snapshot, style, among, weights))
    return PromptFit(parts, asked, tokens, text, tags, text_known, tags_known, part, triggered)


def _style(snapshot: Snapshot, style: Scores | str, among: Flags, weights: ScoreWeights) -> Scores:
    """How like a style in words each adapter is, 0 … 1."""
    if isinstance(style, str):
        words = snapshot.words.bm25(split_unspaced(style.casefold().split()))
        most = float(words[among].max(initial=0))
        return words / most if most else words
    by_text, _ = snapshot.text_cosines(style)
    by_tags, _ = snapshot.tags_cosines(style)
    return np.maximum(np.maximum(weights.tags * by_text, by_tags), 0)
