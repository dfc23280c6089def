"""Cosines in which what a scope's records share counts for less: against the textbook, and what they are for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer import whitening as module
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.layout import Layout
from consumer.records import Doubles, Floats
from consumer.whitening import LEAST_ROWS, Whitening, renewed

LAYOUT = Layout(["name", "city"], [64, 8], [0.7, 0.3])
SPANS = LAYOUT.spans(["name"])
COMMON = np.eye(64)[0]
SEEDS = st.integers(0, 2**32 - 1)


def fused(names: Doubles, seed: int = 0) -> Floats:
    """Vectors of records with such names, scaled to length 1, and any city."""
    cities = np.random.default_rng(seed).standard_normal((len(names), 8))
    blocks = [(b / np.linalg.norm(b, axis=1, keepdims=True)).astype(np.float32) for b in (names, cities)]
    there = [np.ones(len(names), bool)] * 2
    return LAYOUT.fuse(blocks, there)[0].astype(np.float32)


def population(n: int, seed: int = 1, common: float = 1.0) -> Doubles:
    """Names that all share a direction, with as much of their own."""
    own = np.random.default_rng(seed).standard_normal((n, 64))
    return np.asarray(common * COMMON + own / np.linalg.norm(own, axis=1, keepdims=True), np.float64)


def index_of(vectors: Floats) -> GrowingIndex:
    index = GrowingIndex(LAYOUT.dim, 10_000, HnswOptions())
    index.add([f"r{i}" for i in range(len(vectors))], vectors, [3] * len(vectors))
    return index


def learnt(n: int = 4_000) -> Whitening:
    return renewed(Whitening(), index_of(fused(population(n))), SPANS)


@given(SEEDS)
def test_it_is_the_cosine_of_vectors_whose_first_principal_directions_were_shortened(seed: int) -> None:
    whitening = learnt(500)
    (block,) = whitening.blocks
    shorten = np.eye(64) + block.directions * block.gains @ block.directions.T
    vectors = fused(population(2, seed), seed)
    left, right = (v[:64].astype(np.float64) for v in vectors)
    squares = (left @ shorten @ left) * (right @ shorten @ right)
    found = LAYOUT.cosines(vectors[:1], vectors[1:], whitening)[0]
    assert found[0] == pytest.approx(left @ shorten @ right / np.sqrt(squares), abs=2e-5)
    assert found[1] == LAYOUT.cosines(vectors[:1], vectors[1:])[0, 1], "the city is not whitened"


def test_what_all_have_in_common_says_little_and_what_two_have_says_as_much_as_before() -> None:
    whitening = learnt()
    rare = np.eye(64)[5]
    vectors = fused(
        np.stack([COMMON + np.eye(64)[7], COMMON + np.eye(64)[8], rare + np.eye(64)[7], rare + np.eye(64)[8]])
    )
    plain = LAYOUT.cosines(vectors[::2], vectors[1::2])[:, 0]
    found = LAYOUT.cosines(vectors[::2], vectors[1::2], whitening)[:, 0]
    assert plain == pytest.approx(0.5, abs=0.01), "two that share a half of themselves"
    assert found[0] < 0.15, "they share what everybody has"
    assert found[1] == pytest.approx(0.5, abs=0.1)


def test_few_records_shorten_less_than_many() -> None:
    pair = fused(np.stack([COMMON + np.eye(64)[7], COMMON + np.eye(64)[8]]))
    found = [LAYOUT.cosines(pair[:1], pair[1:], learnt(n))[0, 0] for n in (150, 600, 2_400)]
    assert 0.5 > found[0] > found[1] > found[2]


@given(SEEDS, st.integers(2, 40))
def test_a_pair_does_not_depend_on_those_beside_it(seed: int, n: int) -> None:
    whitening, vectors = learnt(500), fused(population(n, seed), seed)
    together = LAYOUT.cosines(vectors[None, :], vectors[:, None], whitening)
    for i in range(n):
        np.testing.assert_array_equal(LAYOUT.cosines(vectors, vectors[i], whitening), together[i])
        assert LAYOUT.cosines(vectors[i], vectors[0], whitening)[0] == together[i, 0, 0]
    np.testing.assert_array_equal(together[..., 0].T, together[..., 0])
    assert (np.diagonal(together[..., 0]) == 1).all()


def test_a_missing_block_is_like_nothing() -> None:
    vectors = fused(population(2))
    vectors[1, :64] = 0
    assert LAYOUT.cosines(vectors[:1], vectors[1:], learnt(500))[0, 0] == 0
    assert LAYOUT.cosines(vectors[1:], vectors[1:], learnt(500))[0, 0] == 0


def test_records_without_the_modality_teach_nothing() -> None:
    vectors = fused(population(1_000))
    half = vectors.copy()
    half[500:, :64] = 0
    of_all, of_half = (renewed(Whitening(), index_of(v), SPANS).blocks[0] for v in (vectors[:500], half))
    np.testing.assert_array_equal(of_half.gains, of_all.gains)


def test_it_is_learnt_anew_when_there_are_twice_as_many() -> None:
    vectors = fused(population(4 * LEAST_ROWS))
    nothing = Whitening()
    assert renewed(nothing, index_of(vectors[: LEAST_ROWS - 1]), SPANS) is nothing
    first = renewed(nothing, index_of(vectors[: LEAST_ROWS + 5]), SPANS)
    assert first.rows == LEAST_ROWS + 5
    assert renewed(first, index_of(vectors[: 2 * LEAST_ROWS + 9]), SPANS) is first
    assert renewed(first, index_of(vectors[: 2 * LEAST_ROWS + 10]), SPANS).rows == 2 * LEAST_ROWS + 10
    assert renewed(nothing, index_of(vectors), ()) is nothing, "nothing is whitened"


def test_the_newest_teach_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 300)
    old, new = fused(population(500, common=0)), fused(population(300))
    both = renewed(Whitening(), index_of(np.concatenate([old, new])), SPANS)
    alone = renewed(Whitening(), index_of(new), SPANS)
    np.testing.assert_array_equal(both.blocks[0].gains, alone.blocks[0].gains)
    assert (both.rows, alone.rows) == (800, 300)


def test_what_is_packed_comes_back_and_is_forgotten_where_something_else_is_whitened() -> None:
    whitening, vectors = learnt(500), fused(population(30, seed=3))
    again = Whitening.unpack(whitening.pack(), SPANS)
    assert again.rows == 500
    np.testing.assert_array_equal(
        LAYOUT.cosines(vectors, vectors[0], again), LAYOUT.cosines(vectors, vectors[0], whitening)
    )
    assert Whitening.unpack(whitening.pack(), LAYOUT.spans(["name", "city"])) == Whitening()
    assert (
        Whitening.unpack(whitening.pack(), Layout(["name", "city"], [64, 8], [0.6, 0.4]).spans(["name"])) == Whitening()
    )
    assert len(whitening.pack()) < 5_000
