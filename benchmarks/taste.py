"""How much taste learns, and what it costs: `python benchmarks/taste.py`.

People who do not exist, with tastes that are known, are shown lists over some sessions. Their
answers go into a real database, the scores come from `recommendations.taste` as the service uses
it. Printed: the share of the utility that an oracle would get in the last five sessions, for no
feedback, popularity, Rocchio, and this; and the time of scores over 10,000 adapters and 5,000
events. The lists of all ways begin with the same fit to a prompt.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lora_manager_core.common.clock import utc_now
from lora_manager_core.db import counters
from lora_manager_core.db.models import FeedbackEvent, RecommendationSession
from lora_manager_core.db.unit_of_work import Database
from lora_manager_core.recommendations.answers.weights import WEIGHTS
from lora_manager_core.recommendations.taste.scores import Taste

Matrix = NDArray[np.float32]

DIMENSIONS = 384
KINDS, CONCEPTS = 16, 160
LIST_LENGTH = 10
KEY = "benchmark"


@dataclass(frozen=True)
class Adapter:
    """What taste looks at."""

    id: str
    name: str
    tags: tuple[str, ...] = ()
    author: str | None = None
    archetype: str | None = None
    base_model: str | None = None
    network_type: str | None = None


@dataclass(eq=False)
class Catalogue:
    """Adapters, their text vectors, and the concept each of them is of."""

    entries: Sequence[Adapter]
    vectors: Matrix
    concept_of: NDArray[np.int64]
    row_of: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.row_of = {entry.id: row for row, entry in enumerate(self.entries)}

    def text_matrix(self, key: str, /) -> tuple[Matrix, NDArray[np.bool_]]:
        """All of them have vectors."""
        return self.vectors, np.ones(len(self.entries), np.bool_)


def make_catalogue(count: int, random: np.random.Generator, dimensions: int) -> Catalogue:
    """Adapters of concepts of kinds.

    Cosines of texts by MiniLM on the described adapters of benchmarks/data, medians: 0.59 of one
    concept, 0.24 of one kind, 0.18 of others. These here are the same.
    """
    common = _unit(random.normal(size=(1, dimensions)))
    kinds = _unit(random.normal(size=(KINDS, dimensions)))
    concepts = _unit(random.normal(size=(CONCEPTS, dimensions)))
    noise = _unit(random.normal(size=(count, dimensions)))
    concept_of = random.integers(0, CONCEPTS, count)
    shares = np.sqrt([0.18, 0.06, 0.35, 0.41])
    vectors = shares[0] * common + shares[1] * kinds[concept_of % KINDS]
    vectors = vectors + shares[2] * concepts[concept_of] + shares[3] * noise
    entries = [Adapter(str(uuid.uuid4()), f"adapter {n}") for n in range(count)]
    return Catalogue(entries, _unit(vectors), concept_of)


@dataclass
class Person:
    """Somebody with a taste; `truth` is the utility of each adapter, 0..1."""

    truth: NDArray[np.float64]

    def answers(self, row: int, random: np.random.Generator) -> str | None:
        """What the person says of an adapter that was shown; often nothing."""
        if random.random() < 0.5:
            return None
        return "positive" if random.random() < self.truth[row] else "negative"


def make_person(catalogue: Catalogue, random: np.random.Generator) -> Person:
    """Likes some kinds and, within all of them, some concepts; utility is 0.28 on the average."""
    of_kind, of_concept = random.normal(size=KINDS), random.normal(size=CONCEPTS)
    concepts = catalogue.concept_of
    pull = 1.5 * of_kind[concepts % KINDS] + 1.5 * of_concept[concepts] - 1.6
    return Person(1 / (1 + np.exp(-pull)))


Way = Callable[["Session"], NDArray[np.float64]]


@dataclass
class Session:
    """What a way of ranking may know when a list is asked for."""

    catalogue: Catalogue
    database: Database
    taste: Taste
    liked: list[int]
    disliked: list[int]
    shown: NDArray[np.int64]
    taken: NDArray[np.int64]


def none(session: Session) -> NDArray[np.float64]:
    """The fit to the prompt alone."""
    return np.zeros(len(session.catalogue.entries))


def popularity(session: Session) -> NDArray[np.float64]:
    """How often an adapter was taken when it was shown, Beta-shrunk."""
    return (session.taken + 0.5) / (session.shown + 2.5)


def rocchio(session: Session) -> NDArray[np.float64]:
    """Rocchio (1971): the mean of what was liked less a quarter of that of what was not."""
    vectors = session.catalogue.vectors
    profile = np.zeros(vectors.shape[1])
    for rows, share in ((session.liked, 0.75), (session.disliked, -0.15)):
        if rows:
            profile += share * vectors[rows].mean(0)
    length = float(np.linalg.norm(profile))
    return 0.5 * (vectors @ profile) / length if length else profile[:1].repeat(len(vectors))


def this(session: Session) -> NDArray[np.float64]:
    """The scores of the service, with its weights."""
    scores = session.taste.scores(session.catalogue, "", KEY)
    sure = scores.n / (scores.n + WEIGHTS.half_at)
    return WEIGHTS.preference * sure * scores.pref + WEIGHTS.popularity * scores.pop


WAYS: dict[str, Way] = {"none": none, "popularity": popularity, "Rocchio": rocchio, "this": this}


def simulate(way: Way, catalogue: Catalogue, seed: int, sessions: int, folder: Path) -> float:
    """The share of the oracle in the last five sessions of one person."""
    random = np.random.default_rng(seed)
    person = make_person(catalogue, random)
    database = Database(f"sqlite:///{(folder / f'{uuid.uuid4()}.sqlite3').as_posix()}")
    database.upgrade()
    size = len(catalogue.entries)
    state = Session(
        catalogue, database, Taste(database), [], [], np.zeros(size, int), np.zeros(size, int)
    )
    got, best = 0.0, 0.0
    for number in range(sessions):
        fit = 0.95 * (catalogue.vectors @ _prompt(catalogue, random))
        pool = np.argsort(-fit)[:200]  # what fits the prompt at all
        final = fit + way(state)
        listed = pool[np.argsort(-final[pool], kind="stable")][:LIST_LENGTH]
        if number >= sessions - 5:
            got += float(person.truth[listed].sum())
            best += float(np.sort(person.truth[pool])[-LIST_LENGTH:].sum())
        _answer(state, person, listed, random)
    database.close()
    return got / best


def _prompt(catalogue: Catalogue, random: np.random.Generator) -> NDArray[np.float32]:
    """A prompt lies between five adapters: broad, so that taste has something to decide."""
    five = catalogue.vectors[random.choice(len(catalogue.entries), 5, replace=False)]
    return _unit(five.sum(0, keepdims=True))[0]


def _answer(
    state: Session, person: Person, listed: NDArray[np.int64], random: np.random.Generator
) -> None:
    now, session_id = utc_now(), str(uuid.uuid4())
    ids = [state.catalogue.entries[row].id for row in listed]
    events = []
    for row, adapter_id in zip(listed.tolist(), ids, strict=True):
        said = person.answers(row, random)
        if said is not None:
            (state.liked if said == "positive" else state.disliked).append(row)
            state.taken[row] += said == "positive"
            events.append(_event(said, adapter_id, session_id, now))
    state.shown[listed] += 1
    with state.database.write() as session:
        session.execute(insert(RecommendationSession), [_session(session_id, ids, now)])
        if events:
            session.execute(insert(FeedbackEvent), events)
        counters.raise_counter(session, counters.FEEDBACK)


def _event(kind: str, adapter_id: str, session_id: str | None, at: str) -> dict[str, object]:
    return {
        "id": str(uuid.uuid4()),
        "user": "",
        "kind": kind,
        "adapter_id": adapter_id,
        "session_id": session_id,
        "implicit": False,
        "created_at": at,
    }


def _session(session_id: str, ids: Sequence[str], at: str) -> dict[str, object]:
    return {
        "id": session_id,
        "kind": "for_prompt",
        "mode": "semantic",
        "shown": [[adapter_id, 1.0] for adapter_id in ids],
        "duration_ms": 1.0,
        "created_at": at,
    }


def measure(count: int, events: int, folder: Path) -> None:
    """Print what scores cost: the first, with nothing new, after one more event."""
    random = np.random.default_rng(1)
    catalogue = make_catalogue(count, random, DIMENSIONS)
    database = Database(f"sqlite:///{(folder / 'cost.sqlite3').as_posix()}")
    database.upgrade()
    rows = random.integers(0, count, events)
    now = utc_now()
    sessions = [str(uuid.uuid4()) for _ in range(max(1, events // 5))]
    with database.write() as session:
        ids = [catalogue.entries[row].id for row in rows]
        session.execute(
            insert(RecommendationSession),
            [_session(s, ids[n * 5 : n * 5 + 20], now) for n, s in enumerate(sessions)],
        )
        session.execute(
            insert(FeedbackEvent),
            [
                _event(("positive", "negative")[n % 3 == 2], i, sessions[n % len(sessions)], now)
                for n, i in enumerate(ids)
            ],
        )
        counters.raise_counter(session, counters.FEEDBACK)
    for key in (KEY, None):
        taste = Taste(database)
        first = _timed(lambda t=taste, k=key: t.scores(catalogue, "", k))  # type: ignore[misc]
        warm = [_timed(lambda t=taste, k=key: t.scores(catalogue, "", k)) for _ in range(200)]  # type: ignore[misc]
        scores = taste.scores(catalogue, "", key)
        why = [_timed(lambda s=scores, r=row: s.because(r)) for row in range(100)]  # type: ignore[misc]
        after = []
        for row in range(20):
            with database.write() as session:
                event = _event("positive", catalogue.entries[row].id, sessions[0], now)
                session.execute(insert(FeedbackEvent), [event])
                counters.raise_counter(session, counters.FEEDBACK)
            after.append(_timed(lambda t=taste, k=key: t.scores(catalogue, "", k)))  # type: ignore[misc]
        print(
            f"{'vectors' if key else 'tags':8} first {first:7.1f} ms   nothing new "
            f"{statistics.median(warm):.2f} ms (p95 {np.percentile(warm, 95):.2f})   "
            "after an event "
            f"{statistics.median(after):.1f} ms   reasons of one {statistics.median(why):.2f} ms"
        )
    database.close()


def _timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return (time.perf_counter() - begin) * 1000


def _unit(rows: NDArray[np.floating]) -> Matrix:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / lengths).astype(np.float32)


def main() -> None:
    """Print the shares, then the times."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--people", type=int, default=60)
    options.add_argument("--sessions", type=int, default=20)
    options.add_argument("--adapters", type=int, default=600, help="in the simulation")
    options.add_argument("--library", type=int, default=10_000, help="for the times")
    options.add_argument("--events", type=int, default=5_000, help="for the times")
    asked = options.parse_args()
    catalogue = make_catalogue(asked.adapters, np.random.default_rng(0), DIMENSIONS)
    last = f"sessions {asked.sessions - 4} to {asked.sessions}"
    print(f"Share of the oracle, {last} of {asked.people} people")
    with tempfile.TemporaryDirectory() as folder:
        for name, way in WAYS.items():
            shares = [
                simulate(way, catalogue, seed, asked.sessions, Path(folder))
                for seed in range(1, asked.people + 1)
            ]
            deviation = 1.96 * statistics.stdev(shares) / len(shares) ** 0.5
            print(f"  {name:12} {statistics.mean(shares):.3f} ± {deviation:.3f}")
        print(f"Scores over {asked.library} adapters and {asked.events} events")
        measure(asked.library, asked.events, Path(folder))


if __name__ == "__main__":
    main()
