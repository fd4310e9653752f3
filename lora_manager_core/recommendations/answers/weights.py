"""The constants of the scores; recommendations.md, section 1 (experiments of this project)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScoreWeights:
    """What each part of a score counts.

    For a prompt: `text · max over its parts of max(cosine of texts, tags · cosine of tags)
    + words · BM25/max + spelling · alikeness of words that no adapter has
    + trigger · [a trigger phrase is in the prompt]`. To any score come `family` (made for the very
    family of the checkpoint), `style` (times how like the asked style) and taste:
    `preference · n/(n + half_at) · pref + popularity · pop`.
    """

    text: float = 0.95
    tags: float = 0.9
    words: float = 0.10
    spelling: float = 0.10
    trigger: float = 0.60
    family: float = 0.05
    style: float = 0.15
    preference: float = 0.5
    half_at: int = 5
    popularity: float = 0.2
    #: Of the technical likeness of two files: weights, and the rest for the format.
    sketch: float = 0.8
    #: Maximal marginal relevance (Carbonell and Goldstein, 1998): score, and the rest for novelty.
    relevance: float = 0.8


WEIGHTS = ScoreWeights()
