"""How quick recommendations are, beside their bare costs.

    python benchmarks/recommendation_speed.py [--count 10000] [--count 100000] [--no-model]

A database is filled through the repositories with adapters of made-up words, random vectors and
random sketches (what they mean does not change the speed); then one thread asks. Prompts that the
model reads are of real words, because it takes made-up ones for three times as many. Targets, on
two cores and 10,000 adapters, p95: prompt by the model 40 ms, by words alone 10 ms, similar 15 ms
(at 100,000 adapters 50 ms). The bare cost of a prompt is encoding its parts and one matrix product,
that of "similar" the products alone.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from recommendations_set import RecommendationSet
from sqlalchemy import update

from lora_manager_core.adapters.writer import AdapterWriter
from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.models import Adapter
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.embeddings.base import TextEmbedder
from lora_manager_core.embeddings.model_files import ModelFiles
from lora_manager_core.embeddings.precision import PrecisionMemory
from lora_manager_core.embeddings.prompts import segments
from lora_manager_core.embeddings.sentence_transformer import SentenceEmbedder
from lora_manager_core.embeddings.text import adapter_texts
from lora_manager_core.embeddings.tiers import TextTiers
from lora_manager_core.recommendations.answers.queries import QueryVectors
from lora_manager_core.recommendations.answers.schemas import ForPromptRequest, SimilarQuery
from lora_manager_core.recommendations.answers.service import RecommendationService
from lora_manager_core.recommendations.answers.times import AnswerTimes
from lora_manager_core.recommendations.catalogue.index import CatalogueIndex
from lora_manager_core.recommendations.taste.scores import Taste
from lora_manager_core.recommendations.taste.sessions import SessionLog
from lora_manager_core.recommendations.vectors.repository import (
    NewText,
    TextVectorWriter,
    adapter_text_rows,
)
from lora_manager_core.recommendations.vectors.sketch_repository import (
    DueFile,
    NewSketch,
    SketchWriter,
)
from lora_manager_core.weights.method import METHOD

_SIDE = 64
_PORTION = 2000
_REPEATS = 60
_DIMENSIONS = 384
_BASES = ("SDXL", "SDXL", "Pony", "Illustrious", "SD 1.5", "Flux.1")
_SYLLABLES = re.findall("..", "kalomirentoseldavinulapexmorithzanquebrofelniroshtamgry")


def main() -> None:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, action="append", help="adapters (repeatable)")
    parser.add_argument("--no-model", action="store_true", help="words alone, and similar")
    parser.add_argument("--repeats", type=int, default=_REPEATS)
    args = parser.parse_args()
    for count in args.count or [10_000]:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), count, args.repeats, not args.no_model)


def measure(folder: Path, count: int, repeats: int, with_model: bool) -> None:
    """Print every row for one size."""
    print(f"\n{count} adapters, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'figure':44}{'p50':>10}{'p95':>10}{'bare p50':>10}  ms")
    words = _Words(7)
    model = _model(folder) if with_model else _Directions()
    database = Database(f"sqlite:///{(folder / 'speed.sqlite3').as_posix()}")
    database.upgrade()
    try:
        ids = fill(database, count, words, model)
        prompts = [words.prompt() for _ in range(repeats)]
        _measure_prompts(database, None, "prompt, words alone", prompts)
        before = psutil.Process().memory_info().rss
        service, index = _service(database, model)
        _row("first snapshot", [_timed(index.snapshot)])
        snapshot = index.snapshot()
        mebibyte = 2**20
        taken = (psutil.Process().memory_info().rss - before) / mebibyte
        print(f"{'memory: vectors, all of it, MiB':44}{snapshot.memory_bytes / mebibyte:10.0f}"
              f"{taken:10.0f}")  # fmt: skip
        if with_model:
            name = f"prompt, {snapshot.embedder.mode if snapshot.embedder else 'lexical'}"
            real = _real_prompts(repeats)
            _row(
                name,
                [_timed(partial(_ask, service, prompt)) for prompt in real],
                [_timed(partial(_bare_prompt, model, snapshot, prompt)) for prompt in real],
            )
            _row("  the same again, parts known", [
                _timed(partial(_ask, service, prompt)) for prompt in real])  # fmt: skip
        chosen = random.Random(1).sample(ids, min(repeats, len(ids)))
        _row("similar", [_timed(partial(_similar, service, i)) for i in chosen],
             [_timed(partial(_bare_similar, snapshot, i)) for i in chosen])  # fmt: skip
        _row("question after one edit", [
            _edited(database, service, i, words) for i in chosen[:20]])  # fmt: skip
        _row("question after one deletion", [
            _deleted(database, service, i, words) for i in chosen[:20]])  # fmt: skip
        _row("by trigger", [_timed(partial(service.by_trigger, words.trigger()))
                            for _ in range(repeats)])  # fmt: skip
    finally:
        database.close()


class _Words:
    """Made-up texts of some 12,000 words, few of them frequent."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        make = self._random.choice
        self._words = list(
            dict.fromkeys(
                "".join(make(_SYLLABLES) for _ in range(self._random.randint(2, 4)))
                for _ in range(15_000)
            )
        )

    def some(self, least: int, most: int) -> str:
        """Words by Zipf's law, near enough."""
        size = len(self._words)
        count = self._random.randint(least, most)
        return " ".join(self._words[int(size ** self._random.random()) - 1] for _ in range(count))

    def rare(self) -> str:
        """A word that few have, as triggers are."""
        return self._random.choice(self._words)

    def row(self, number: int) -> dict[str, Any]:
        """One adapter, as a scan adds it."""
        now = utc_now()
        name = f"{self.some(1, 3)} {number}"
        path = f"/library/{number}.safetensors"
        return {
            "id": str(uuid.UUID(int=self._random.getrandbits(128))),
            "name": name,
            "name_key": name,
            "description": ". ".join(self.some(6, 14) for _ in range(4)),
            "tags": [self.some(1, 2) for _ in range(5)],
            "triggers": [self.rare() for _ in range(2)],
            "base_model": self._random.choice(_BASES),
            "network_type": "LoRA",
            "rank": 16,
            "file_path": path,
            "file_key": path,
            "file_size": 1000,
            "file_mtime_ns": 7,
            "origin": "scan",
            "created_at": now,
            "updated_at": now,
        }

    def prompt(self) -> str:
        """A prompt of five parts."""
        return ", ".join(["masterpiece", *(self.some(2, 4) for _ in range(5))])

    def trigger(self) -> Any:
        """A query for triggers."""
        from lora_manager_core.recommendations.answers.schemas import TriggerQuery

        return TriggerQuery(trigger_query=self.rare())


class _Directions(TextEmbedder):
    """Random vectors: for "similar" any will do."""

    mode = "semantic"
    label = "random"
    key = "random"
    dimensions = _DIMENSIONS

    def state(self) -> Any:
        from lora_manager_core.embeddings.base import EmbedderState

        return EmbedderState("ready")

    def load(self) -> None:
        """There is nothing to load."""

    def unload(self) -> None:
        """Nor to give back."""

    def encode(self, texts: Sequence[str], is_cancelled: Callable[[], bool] = bool) -> Any:
        """Random ones."""
        return _unit(np.random.default_rng(len(texts)), len(texts), _DIMENSIONS)


def _model(folder: Path) -> TextEmbedder:
    model = SentenceEmbedder(ModelFiles(None), PrecisionMemory(folder), idle_s=3600)
    model.load()
    model.encode(["warm"])
    return model


def fill(database: Database, count: int, words: _Words, model: TextEmbedder) -> list[str]:
    """Adapters with vectors and sketches; gives their ids."""
    generator = np.random.default_rng(5)
    ids: list[str] = []
    for start in range(0, count, _PORTION):
        rows = [words.row(number) for number in range(start, min(start + _PORTION, count))]
        ids += (own := [row["id"] for row in rows])
        with database.write() as session:
            AdapterWriter(session).insert_rows(rows)
            digests = [adapter_texts(row.fields).digest for row in adapter_text_rows(session, own)]
            order = [row.adapter_id for row in adapter_text_rows(session, own)]
            text, tags = (_unit(generator, len(own), model.dimensions) for _ in range(2))
            TextVectorWriter(session).put(
                [
                    NewText(i, rows[0]["updated_at"], model.key, digest, _half(a), _half(b))
                    for i, digest, a, b in zip(order, digests, text, tags, strict=True)
                ]
            )
            sketches = _unit(generator, len(own), _SIDE * _SIDE)
            SketchWriter(session).put(
                [
                    NewSketch(DueFile(i, "", 1000, 7), METHOD, _half(sketch), 1.0)
                    for i, sketch in zip(own, sketches, strict=True)
                ]
            )
    return ids


def _unit(generator: np.random.Generator, count: int, dimensions: int) -> Any:
    vectors = generator.standard_normal((count, dimensions), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _half(vector: Any) -> bytes:
    return bytes(vector.astype("<f2").tobytes())


def _service(
    database: Database, model: TextEmbedder | None
) -> tuple[RecommendationService, CatalogueIndex]:
    tiers = TextTiers(model)
    index = CatalogueIndex(database, tiers, lambda: None)
    service = RecommendationService(
        database,
        index,
        tiers,
        Taste(database),
        SessionLog(database),
        lambda: "SDXL",
        AnswerTimes(),
        QueryVectors(),
    )
    return service, index


def _measure_prompts(
    database: Database, model: TextEmbedder | None, name: str, prompts: Sequence[str]
) -> None:
    service, index = _service(database, model)
    _row("first snapshot, words alone", [_timed(index.snapshot)])
    _ask(service, prompts[0])
    _row(name, [_timed(partial(_ask, service, prompt)) for prompt in prompts])


def _ask(service: RecommendationService, prompt: str) -> Any:
    return service.for_prompt(ForPromptRequest(prompt=prompt)).model_dump()


def _similar(service: RecommendationService, adapter_id: str) -> Any:
    return service.similar(adapter_id, SimilarQuery()).model_dump()


def _bare_prompt(model: TextEmbedder, snapshot: Any, prompt: str) -> Any:
    return snapshot.text_matrix()[0] @ model.encode(segments(prompt).parts).T


def _real_prompts(count: int) -> list[str]:
    """A query of the quality benchmark each, with a quality word and the tags of four adapters."""
    examples, choose = RecommendationSet(), random.Random(11)
    tags = [document.tags[0] for document in examples.documents if document.tags]
    return [
        ", ".join(["masterpiece", choose.choice(examples.queries).text, *choose.sample(tags, 4)])
        for _ in range(count)
    ]


def _bare_similar(snapshot: Any, adapter_id: str) -> None:
    row = snapshot.row_of[adapter_id]
    for matrix in (snapshot.text_matrix()[0], snapshot.sketch_matrix()[0]):
        matrix @ matrix[row]


def _edited(
    database: Database, service: RecommendationService, adapter_id: str, words: _Words
) -> float:
    with database.write() as session:
        session.execute(
            update(Adapter)
            .where(Adapter.id == adapter_id)
            .values(description=words.some(20, 30), updated_at=utc_now())
        )
        counters.raise_counter(session, counters.ADAPTERS)
    return _timed(partial(_similar, service, adapter_id))


def _deleted(
    database: Database, service: RecommendationService, adapter_id: str, words: _Words
) -> float:
    with database.write() as session:
        writer = AdapterWriter(session)
        writer.remove(writer.get_many([adapter_id]))
    return _timed(lambda: service.by_trigger(words.trigger()))


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1000


def _row(name: str, ours: Sequence[float], bare: Sequence[float] | None = None) -> None:
    ordered = sorted(ours)
    p95 = ordered[max(-(-len(ordered) * 95 // 100) - 1, 0)]
    told = f"{statistics.median(bare):10.1f}" if bare else ""
    print(f"{name:44}{statistics.median(ours):10.1f}{p95:10.1f}{told}")


if __name__ == "__main__":
    main()
