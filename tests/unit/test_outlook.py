"""Clusters now beside clusters then."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.recovery.outlook import Outlook

RECORDS = [f"r{i}" for i in range(9)]
ASSIGNED = st.dictionaries(st.sampled_from(RECORDS), st.sampled_from(["p", "q", "s"]))


def outlook(now: dict[str, str], then: dict[str, str]) -> Outlook:
    seen = Outlook()
    seen.add("default", now, then, RECORDS)
    return seen


def test_each_kind_of_change_is_counted_once() -> None:
    now = {"r0": "a", "r1": "a", "r2": "b", "r3": "b", "r4": "c", "r5": "c"}
    then = {"r0": "x", "r1": "x", "r2": "x", "r3": "x", "r4": "y", "r6": "y", "r7": "z", "r8": "z"}
    seen = outlook(now, then)
    assert (seen.clusters_now, seen.clusters_then) == (3, 3)
    assert (seen.merges, seen.splits, seen.created, seen.grown, seen.unchanged) == (1, 1, 1, 0, 0)
    assert (seen.pairs_now, seen.pairs_then, seen.pairs_both) == (3, 8, 2)
    assert seen.merge_examples[0].clusters == ["a", "b"]
    assert seen.split_examples[0].groups == [["r4"], ["r5"]]


def test_a_cluster_that_gains_records_grows() -> None:
    seen = outlook({"r0": "a", "r1": "a"}, {"r0": "x", "r1": "x", "r2": "x"})
    assert (seen.grown, seen.unchanged, seen.merges, seen.splits) == (1, 0, 0, 0)


@given(ASSIGNED)
def test_the_same_clusters_under_other_ids_are_no_change(now: dict[str, str]) -> None:
    seen = outlook(now, {r: f"then-{cid}" for r, cid in now.items()})
    assert (seen.merges, seen.splits, seen.created, seen.grown) == (0, 0, 0, 0)
    assert seen.unchanged == seen.clusters_now
    assert seen.pairs_now == seen.pairs_then == seen.pairs_both


@given(ASSIGNED, ASSIGNED)
def test_there_and_back_a_split_is_a_merge(now: dict[str, str], then: dict[str, str]) -> None:
    there, back = outlook(now, then), outlook(then, now)
    assert (there.pairs_now, there.pairs_both, there.pairs_then) == (back.pairs_then, back.pairs_both, back.pairs_now)
    assert (there.unchanged, there.clusters_now) == (back.unchanged, back.clusters_then)
