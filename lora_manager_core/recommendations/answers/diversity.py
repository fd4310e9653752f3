"""Reorders a list so that what is nearly the same as something above comes later."""

from __future__ import annotations

import numpy as np

from lora_manager_core.recommendations.answers.parts import Rows, Scores
from lora_manager_core.recommendations.catalogue.snapshot import Snapshot


def diversified(
    snapshot: Snapshot, rows: Rows, scores: Scores, most: int, relevance: float
) -> Rows:
    """The best `most` of these rows by maximal marginal relevance, in the order picked.

    Each next one has the largest `relevance · score - (1 - relevance) · likeness` to what was
    picked, where the likeness is the larger of those of texts and of weights.
    """
    if len(rows) < 2:
        return rows
    columns = [c for c in (snapshot.text, snapshot.sketches) if c is not None and c.known.any()]
    vectors = [column.rows(rows) for column in columns]
    worth = relevance * scores[rows]
    nearest = np.zeros(len(rows), dtype=np.float32)
    left = np.ones(len(rows), dtype=np.bool_)
    picked = []
    for _ in range(min(most, len(rows))):
        value = np.where(left, worth - (1 - relevance) * nearest, -np.inf)
        best = int(value.argmax())
        picked.append(best)
        left[best] = False
        for own in vectors:
            # Not by BLAS: for so few it takes longer to wake its threads.
            nearest = np.maximum(nearest, np.einsum("ij,j->i", own, own[best]))
    return rows[picked]
