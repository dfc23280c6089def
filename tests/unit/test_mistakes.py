"""The largest cluster that is wrong, against a count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.comparison import Comparison
from consumer.mistakes import FalseCluster, largest_false, wrong_pairs
from consumer.pairs import PairTable

CLUSTERINGS = st.dictionaries(st.integers(0, 30).map(str), st.integers(0, 5).map(str), max_size=30)


@pytest.mark.parametrize(
    ("truth", "found", "records", "entities"),
    [
        ({}, {}, 0, 0),
        ({"a": "1", "b": "1"}, {"a": "x", "b": "x"}, 0, 0),
        ({"a": "1", "b": "2"}, {"a": "x"}, 0, 0),
        ({"a": "1", "b": "2"}, {"a": "x", "b": "x", "unlabelled": "x"}, 2, 2),
        ({"a": "1", "b": "1", "c": "2", "d": "3", "e": "4"}, dict(zip("abcde", "xxxyy", strict=True)), 3, 2),
    ],
)
def test_by_hand(truth: dict[str, str], found: dict[str, str], records: int, entities: int) -> None:
    assert largest_false(truth, found) == FalseCluster(records, entities)


@given(CLUSTERINGS, CLUSTERINGS)
def test_no_false_cluster_is_larger(truth: dict[str, str], found: dict[str, str]) -> None:
    false = []
    for cluster in set(found.values()):
        owners = [truth[r] for r, cid in found.items() if cid == cluster and r in truth]
        if len(set(owners)) > 1:
            false.append((len(owners), len(set(owners))))
    largest = largest_false(truth, found)
    assert (largest.records, largest.entities) == max(false, default=(0, 0))


def test_what_no_search_found_is_listed_across_sources_where_that_is_what_counts() -> None:
    none = np.empty(0, np.int64)
    nothing = PairTable([], Comparison(none, [], np.empty((0, 1), np.float32), np.empty((0, 2), np.int64)), none)
    truth = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    sources = {"a1": "left", "a2": "right", "b1": "left", "b2": "left"}
    for chosen, expected in ((None, [("a1", "a2"), ("b1", "b2")]), (sources, [("a1", "a2")])):
        wrong = wrong_pairs(nothing, np.empty(0), np.empty(0, np.bool_), truth, {}, [], chosen)
        assert [(pair.kind, pair.a, pair.b) for pair in wrong] == [("missed", *pair) for pair in expected]
