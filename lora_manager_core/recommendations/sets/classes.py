"""What a cosine of two adapters' weights says, in words.

The borders are those of recommendations.md, section 2 (experiments of this project), and
provisional: a file resized hard to a smaller rank had 0.964 with the one it came from.
"""

from __future__ import annotations

from lora_manager_core.library.alike.schemas import Relation

NEAR_DUPLICATE = 0.97
LINEAGE = 0.5
RELATED = 0.08
#: One standard deviation of a cosine of whole sketches (64 × 64).
SKETCH_NOISE = 0.014
#: The same of their 32 × 32 sub-blocks.
HALF_SKETCH_NOISE = 0.03
#: Rank correlation with the measured damage of merging two adapters, over 700 pairs.
DAMAGE_CORRELATION = {"norm_sum": 0.47, "mean_overlap": 0.37, "abs_cosine": 0.33}
DAMAGE_PAIRS = 700


def relation_of(cosine: float) -> Relation:
    """The class of a pair."""
    if cosine >= NEAR_DUPLICATE:
        return "near_duplicate"
    if cosine >= LINEAGE:
        return "lineage"
    if cosine >= RELATED:
        return "related"
    return "unrelated" if cosine > -LINEAGE else "opposed"


def in_words(relation: Relation) -> str:
    """What the class means, as a sentence about two adapters."""
    return {
        "near_duplicate": "they are nearly the same file",
        "lineage": "one was made from the other, or both from the same",
        "related": "they have something in common, such as subject or training data",
        "unrelated": "they change different things",
        "opposed": "each takes back part of what the other does",
    }[relation]
