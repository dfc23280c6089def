"""The table of candidate pairs, beside all pairs compared one by one."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.comparison import Comparison
from consumer.decode import decode
from consumer.encode import EncoderSet
from consumer.fusion import WeightedFusion
from consumer.fusion_spec import WeightedSpec
from consumer.pairs import PairTable, candidate_pairs
from consumer.records import Record, Vector
from consumer.simulate import signups
from tests.factories import encoder_set, message

COUNT = 300
OPTIONS = HnswOptions(m=16, ef_construction=64, ef=32, threads=1)


@pytest.fixture(scope="module")
def encoders() -> EncoderSet:
    return encoder_set()


@pytest.fixture(scope="module")
def vectors(encoders: EncoderSet) -> list[Vector]:
    records = [decode(message(s.value, s.id), encoders.profile) for s in signups(COUNT, seed=3)]
    return encoders.encode([record for record in records if isinstance(record, Record)])


def table(encoders: EncoderSet, vectors: list[Vector], k: int = COUNT, whitened: Sequence[str] = ()) -> PairTable:
    return candidate_pairs(
        vectors, encoders.layout, lambda: GrowingIndex(encoders.layout.dim, 2 * COUNT, OPTIONS), k, whitened
    )


def test_with_every_candidate_it_holds_every_pair_scored_as_it_is(encoders: EncoderSet, vectors: list[Vector]) -> None:
    pairs = table(encoders, vectors)
    found = {
        (b, a): (similarities, shared)
        for a, b, similarities, shared in zip(
            pairs.later.tolist(),
            pairs.earlier.tolist(),
            pairs.pairs.similarities,
            pairs.pairs.shared.tolist(),
            strict=True,
        )
    }
    assert found.keys() == set(combinations(range(COUNT), 2))
    for (a, b), (similarities, shared) in list(found.items())[:500]:
        left, right = (vectors[n].values.astype(np.float32)[None] for n in (a, b))
        np.testing.assert_array_equal(similarities, encoders.layout.cosines(left, right)[0])
        assert shared == vectors[a].mask & vectors[b].mask


def test_whitened_cosines_are_of_those_that_came_before(encoders: EncoderSet, vectors: list[Vector]) -> None:
    plain, whitened = table(encoders, vectors).pairs, table(encoders, vectors, whitened=["name"]).pairs
    assert plain.ids == whitened.ids
    np.testing.assert_array_equal(plain.similarities[:, 1:], whitened.similarities[:, 1:])
    changed = plain.similarities[:, 0] != whitened.similarities[:, 0]
    assert not changed[plain.rows < 256].any(), "it is learnt at the turn of a block"
    assert changed[plain.rows >= 256].mean() > 0.9


def test_a_record_meets_its_best_candidates_among_those_before_it(encoders: EncoderSet, vectors: list[Vector]) -> None:
    pairs = table(encoders, vectors, k=3)
    queries = np.stack([v.values for v in vectors]).astype(np.float64)
    for later in range(10, COUNT, 29):
        met = pairs.earlier[pairs.later == later]
        best = np.sort(queries[:later] @ queries[later])[::-1][:3]
        np.testing.assert_allclose(np.sort(queries[met] @ queries[later])[::-1], best, atol=1e-5)


def test_scopes_do_not_meet_and_the_last_vector_of_a_record_counts(encoders: EncoderSet, vectors: list[Vector]) -> None:
    apart = [replace(v, scope="odd" if n % 2 else "even") for n, v in enumerate(vectors[:40])]
    again = replace(apart[0], values=apart[1].values, scope="odd")
    pairs = table(encoders, [*apart, again])
    assert len(pairs.ids) == 40
    scopes = {v.id: v.scope for v in [*apart, again]}
    met = [(pairs.ids[a], pairs.ids[b]) for a, b in zip(pairs.later, pairs.earlier, strict=True)]
    assert met
    assert all(scopes[a] == scopes[b] for a, b in met)


def test_scores_are_means_over_what_both_have(encoders: EncoderSet) -> None:
    names, weights = encoders.layout.names, np.array(encoders.layout.weights)
    similarities = np.array([[0.5] * len(names), [0.8, *[0.0] * (len(names) - 1)]], np.float32)
    pairs = Comparison(np.array([1, 2]), ["a", "a"], similarities, np.array([[2 ** len(names) - 1] * 2, [1, 7]]))

    def scores(pairs: Comparison, min_evidence: float) -> list[float]:
        spec = WeightedSpec(duplicate=0.9, possible=0.9, slope=1, min_evidence=min_evidence)
        return [float(score) for score in WeightedFusion(encoders.layout, spec).scores(pairs)]

    assert scores(pairs, 0.0) == pytest.approx([0.5, 0.8])
    assert scores(pairs, float(weights[0]) + 0.01) == pytest.approx([0.5, -1])
    assert scores(pairs.only(range(1, len(names))), 0.0) == pytest.approx([0.5, -1])


def test_the_truth_of_a_pair(encoders: EncoderSet) -> None:
    none = np.zeros((3, len(encoders.layout.names)), np.float32)
    pairs = PairTable(
        ["a", "b", "c", "d"],
        Comparison(np.array([1, 2, 3]), ["a", "a", "c"], none, np.zeros((3, 2), np.int64)),
        np.array([0, 0, 2]),
    )
    assert pairs.same({"a": "x", "b": "x", "c": "y"}).tolist() == [True, False, False]
