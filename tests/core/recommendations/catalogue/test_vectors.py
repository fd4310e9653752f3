"""What every `VectorIndex` promises, asked of the exact one and of the one of faiss."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pytest

from lora_manager_core.recommendations.catalogue.vectors import ExactVectors, Floats, VectorIndex

_DIMENSIONS = 32


def _exact(first: Floats) -> VectorIndex:
    index = ExactVectors(_DIMENSIONS)
    index.add(first)
    return index


def _faiss(first: Floats) -> VectorIndex:
    from lora_manager_core.recommendations.catalogue.faiss_index import FaissVectors

    return FaissVectors(first)


@pytest.fixture(
    params=[
        pytest.param(_exact, id="exact"),
        pytest.param(
            _faiss,
            id="faiss",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("faiss") is None,
                reason="the `faiss` extra is not installed",
            ),
        ),
    ]
)
def make(request: pytest.FixtureRequest) -> Callable[[Floats], VectorIndex]:
    """Makes an index of some first vectors."""
    maker: Callable[[Floats], VectorIndex] = request.param
    return maker


def _unit(count: int, seed: int) -> Floats:
    """Vectors in a few clouds, as texts lie."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((12, _DIMENSIONS))
    vectors = centres[random.integers(12, size=count)] * 2 + random.standard_normal(
        (count, _DIMENSIONS)
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_slots_are_given_in_order(make: Callable[[Floats], VectorIndex]) -> None:
    index = make(_unit(500, 2))

    assert index.add(_unit(3, 3)).tolist() == [500, 501, 502]
    assert index.used == 503
    assert index.dimensions == _DIMENSIONS


def test_the_nearest_are_found_with_their_cosines(make: Callable[[Floats], VectorIndex]) -> None:
    vectors, queries = _unit(3000, 2), _unit(8, 3)
    index = make(vectors)

    found, true = index.cosines(queries, 3000), vectors @ queries.T

    assert found.shape == (3000, 8)
    nearest = np.argsort(-true, axis=0)[:20]
    np.testing.assert_allclose(
        np.take_along_axis(found, nearest, 0), np.take_along_axis(true, nearest, 0), atol=0.02
    )
    said = np.argsort(-found, axis=0)[:20]
    shared = [len(set(nearest[:, q]) & set(said[:, q])) / 20 for q in range(8)]
    assert np.mean(shared) >= 0.95


def test_what_is_added_is_found_at_once(make: Callable[[Floats], VectorIndex]) -> None:
    index = make(_unit(500, 2))
    added = _unit(2, 9)
    slots = index.add(added)

    found = index.cosines(added, index.used)

    assert found.argmax(axis=0).tolist() == slots.tolist()
    np.testing.assert_allclose(index.rows(slots), added, atol=0.02)


def test_who_knows_an_earlier_state_keeps_seeing_it(make: Callable[[Floats], VectorIndex]) -> None:
    index = make(_unit(400, 2))
    query = _unit(1, 3)
    before = index.cosines(query, 400)
    index.add(np.repeat(query, 300, axis=0))

    np.testing.assert_allclose(index.cosines(query, 400), before, atol=1e-6)


def test_the_nearest_are_looked_for_among_those_that_matter(
    make: Callable[[Floats], VectorIndex],
) -> None:
    query = _unit(1, 3)
    index = make(np.concatenate([np.repeat(query, 2500, axis=0), _unit(500, 4)]))
    among = np.arange(2500, 3000, dtype=np.int32)

    found = index.cosines(query, 3000, among)[among, 0]

    assert found.argmax() == (_unit(500, 4) @ query[0]).argmax()


def test_none_of_none(make: Callable[[Floats], VectorIndex]) -> None:
    index = make(_unit(50, 2))

    assert index.rows(np.zeros(0, np.int32)).shape == (0, _DIMENSIONS)
    assert index.cosines(_unit(2, 3), 50, np.zeros(0, np.int32)).shape == (50, 2)


def test_memory_is_told(make: Callable[[Floats], VectorIndex]) -> None:
    assert make(_unit(1000, 2)).memory_bytes >= 1000 * _DIMENSIONS
