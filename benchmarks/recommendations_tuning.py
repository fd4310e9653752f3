"""Searches the weights of the score on half A of the concepts, one weight at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from recommendations_library import Answers
from recommendations_set import KINDS, RecommendationSet, ndcg

from lora_manager_core.recommendations.answers.weights import WEIGHTS, ScoreWeights

#: `text` sets the scale of all the others and stays.
_GRID = {
    "tags": (0.7, 0.8, 0.85, 0.9, 0.95, 1.0),
    "words": (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4),
    "spelling": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
    "trigger": (0.2, 0.4, 0.6, 0.8),
}
_ROUNDS = 3


def tune(told: RecommendationSet, answers: Answers) -> ScoreWeights:
    """Print each value tried and the best weights; coordinate ascent, until nothing gets better."""
    queries = [query for query in told.queries if query.half == "A"]
    grades = [told.grades(query) for query in queries]

    def _mean(weights: ScoreWeights) -> float:
        ranked = answers.rank(queries, weights)
        values = np.array([ndcg(names, g) for names, g in zip(ranked, grades, strict=True)])
        # Each kind counts alike, however many queries of it there are.
        kinds = [values[[query.kind == kind for query in queries]] for kind in KINDS]
        return float(np.mean([of_kind.mean() for of_kind in kinds if len(of_kind)]))

    best, reached = WEIGHTS, _mean(WEIGHTS)
    print(f"half A, {len(queries)} queries; mean of the kinds' nDCG@10 as it is: {reached:.4f}")
    for _ in range(_ROUNDS):
        before = best
        for name, values in _GRID.items():
            for value in values:
                tried = replace(best, **{name: value})
                mean = reached if tried == best else _mean(tried)
                print(f"  {name} {value}: {mean:.4f}{' *' if mean > reached else ''}", flush=True)
                if mean > reached:
                    best, reached = tried, mean
        if best == before:
            break
    print(f"best: {reached:.4f} with {best}")
    return best
