"""How good recommendations are beside what anybody would try first; how fast texts are embedded.

    python benchmarks/recommendations.py [--quick] [--tune] [--all]

The concepts are split into two halves by hash: the weights were tuned on half A (`--tune` does so),
and everything is reported on half B. Cells are means with 95 % bootstrap intervals. `--all` runs
the other benchmarks of recommendations after this one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from recommendations_baselines import Baselines
from recommendations_library import Answers, DescribedLibrary, described_library
from recommendations_set import DEPTH, KINDS, Query, RecommendationSet, interval, ndcg, recall
from recommendations_tuning import tune

from lora_manager_core.common.base_labels import ARCHITECTURES
from lora_manager_core.embeddings.text import AdapterText, adapter_texts

OURS = "ours"
_OTHERS = ("recommendation_speed", "sketches", "trained_loras", "while_embedding")
_QUICK_CONCEPTS = 12
_QUICK_QUERIES = 20
_ALIKE = 5

Measure = Callable[[Sequence[str], Mapping[str, int]], float]
Ranked = Mapping[str, Sequence[Sequence[str]]]


def main() -> None:
    """Print all tables, and the targets with what was reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few concepts, to see that it runs")
    parser.add_argument("--tune", action="store_true", help="search the weights on half A")
    parser.add_argument("--all", action="store_true", help="the other benchmarks, too")
    args = parser.parse_args()
    told = RecommendationSet(_QUICK_CONCEPTS if args.quick else None)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with (
        tempfile.TemporaryDirectory() as folder,
        described_library(Path(folder), told.documents) as library,
    ):
        if args.tune:
            library.embed()
            tune(told, library.semantic())
        else:
            measure(told, library, args.quick)
    if args.all:
        for name in _OTHERS:
            script = Path(__file__).with_name(f"{name}.py")
            print(f"\n=== {name}", flush=True)
            subprocess.run([sys.executable, str(script), *["--quick"] * args.quick], check=True)


def measure(told: RecommendationSet, library: DescribedLibrary, quick: bool) -> None:
    """Everything this benchmark tells of one library."""
    queries = [query for query in told.queries if query.half == "B"]
    if quick:
        queries = queries[:_QUICK_QUERIES]
    print(
        f"{len(told.documents)} adapters of {len(told.concepts)} concepts; {len(told.queries)} "
        f"queries, of which {len(queries)} have all their concepts in half B"
    )
    print("\nshare of a query's content words that any relevant adapter has")
    for kind in dict.fromkeys(query.kind for query in told.queries):
        print(f"  {kind:14}{told.shared_words(kind):.2f}")
    baselines = Baselines(told.documents)
    rate = _embedding_rate(told, library, baselines, 1 if quick else 3)
    semantic = library.semantic()
    ranked: dict[str, Sequence[Sequence[str]]] = {
        OURS: semantic.rank(queries),
        "ours, diversified": semantic.rank(queries, diversify=True),
    }
    if not quick:
        ranked["ours, word vectors"] = library.static().rank(queries)
    ranked["ours, words alone"] = library.lexical().rank(queries)
    ranked.update(baselines.rank(queries))
    gains = _table(f"nDCG@{DEPTH}", told, queries, ranked, ndcg)
    _table(f"recall@{DEPTH}", told, queries, ranked, recall)
    better = interval(gains[OURS] - gains["raw MiniLM"])
    triggers = [
        recall(names, told.carriers(query))
        for names, query in zip(ranked[OURS], queries, strict=True)
        if query.kind == "trigger"
    ]
    print(f"\n{'target':46}{'wanted':>10}  reached")
    _target(f"nDCG@{DEPTH}", 0.65, interval(gains[OURS]))
    _target(f"nDCG@{DEPTH} above raw MiniLM", 0.10, better)
    _target(f"trigger recall@{DEPTH}", 0.99, interval(triggers))
    _target(f"similar: precision@{_ALIKE}", 0.75, interval(_similar(told, library, semantic)))
    _target("rate of the embedding job / bare encode", 0.9, rate)


def _table(
    title: str, told: RecommendationSet, queries: Sequence[Query], ranked: Ranked, measure_: Measure
) -> dict[str, np.ndarray]:
    """Print one measure by kind; gives its values by way, one per query."""
    kinds = [*(kind for kind in KINDS if any(q.kind == kind for q in queries)), "all"]
    counts = {kind: sum(kind in (q.kind, "all") for q in queries) for kind in kinds}
    print(f"\n{title:20}" + "".join(f"{f'{kind} ({counts[kind]})':>20}" for kind in kinds))
    grades = [told.grades(query) for query in queries]
    values = {}
    for way, lists in ranked.items():
        found = np.array([measure_(n, g) for n, g in zip(lists, grades, strict=True)])
        cells = []
        for kind in kinds:
            rows = [kind in (query.kind, "all") for query in queries]
            mean, low, high = interval(found[rows])
            cells.append(f"{mean:.3f} [{low:.2f} {high:.2f}]")
        print(f"{way:20}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
        values[way] = found
    return values


def _similar(told: RecommendationSet, library: DescribedLibrary, answers: Answers) -> list[float]:
    """Share of the first five that are of the same concept, of as many as fit the base model.

    Of adapters that are their concept, in half B.
    """
    shares = []
    for document in told.documents:
        if document.grade < 2 or told.half(document) != "B":
            continue
        alike = {
            other.name: other.grade
            for other in told.documents
            if other.concept_id == document.concept_id
            and other is not document
            and ARCHITECTURES[other.base_model] == ARCHITECTURES[document.base_model]
        }
        room = min(_ALIKE, sum(grade == 2 for grade in alike.values()))
        if room:
            found = answers.similar(library.ids[document.name], room)
            shares.append(sum(name in alike for name in found) / room)
    return shares


def _embedding_rate(
    told: RecommendationSet, library: DescribedLibrary, baselines: Baselines, repeats: int
) -> tuple[float, float, float]:
    """Texts per second of the job over those of `encode`: median, least and most of the runs."""
    texts = [
        adapter_texts(AdapterText(d.name, d.description, d.tags, d.trained_words, notes=d.notes))
        for d in told.documents
    ]
    batch = [text for made in texts for text in (made.text, made.tags) if text]
    baselines.model.encode(batch[:32])
    library.embed()
    ratios = []
    for _ in range(repeats):
        started = time.perf_counter()
        baselines.model.encode(batch)
        bare_s = time.perf_counter() - started
        job_s = library.embed()
        ratios.append(bare_s / job_s)
        print(
            f"\n{len(batch)} texts embedded by the job: {len(batch) / job_s:.1f} a second; "
            f"by encode: {len(batch) / bare_s:.1f} (load {os.getloadavg()[0]:.1f})"
        )
    return statistics.median(ratios), min(ratios), max(ratios)


def _target(title: str, wanted: float, reached: tuple[float, float, float]) -> None:
    mean, low, high = reached
    verdict = "reached" if mean >= wanted else "MISSED"
    print(f"{title:46}{f'>= {wanted}':>10}  {mean:.3f} [{low:.3f} {high:.3f}] {verdict}")


if __name__ == "__main__":
    main()
