"""The largest cluster that is wrong, against a count by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.mistakes import FalseCluster, largest_false

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
