"""The merge rules: what one wrong link cannot do, and what many right ones still can."""

import random
from collections.abc import Callable
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.merging import AMBIGUOUS, QUORUM, RULED_APART, WEAK_BRIDGE
from consumer.records import ClusterChange, PossibleChange
from tests.cluster_scenarios import SCOPE, Say, Step, Upsert, lives, names, play

IDS = names(8)


def clusters(store: MemoryClusters, ids: list[str] = IDS) -> set[frozenset[str]]:
    found = store.read(SCOPE, ids, [], edges=True).clusters.values()
    return {frozenset(cluster.members) for cluster in found}


def arrive(record: str, *duplicates: str) -> Upsert:
    return Upsert(record, 0, 1.0, dict.fromkeys(duplicates, True))


TWO_PAIRS = [arrive("r0"), arrive("r1", "r0"), arrive("r2"), arrive("r3", "r2")]


def test_one_link_does_not_chain_two_clusters_and_is_shown_to_a_person() -> None:
    store = MemoryClusters()
    changes = play(store, [*TWO_PAIRS, arrive("r4", "r0", "r1", "r2")], quorum=0.5)

    assert clusters(store) == {frozenset({"r0", "r1", "r4"}), frozenset({"r2", "r3"})}
    asked = [c.evidence for c in changes if isinstance(c, PossibleChange) and c.kind == "found"]
    assert [(e.a, e.b, e.held) for e in asked] == [("r2", "r4", QUORUM)]


def test_half_of_the_pairs_across_join_two_clusters() -> None:
    store = MemoryClusters()
    # r4 is like all four, r5 too: of the pairs across {r0, r1, r4, ...} and {r2, r3} at least half are duplicates then,
    # and r4 is the medoid of the larger group
    links = [Upsert("r4", 0, 1.0, dict.fromkeys(names(4), 0.95)), Upsert("r5", 0, 1.0, dict.fromkeys(names(5), 0.95))]
    changes = play(store, [*TWO_PAIRS, *links], quorum=0.5)
    assert clusters(store) == {frozenset(names(6))}
    merged = [c for c in changes if isinstance(c, ClusterChange) and c.kind == "merged"]
    assert len(merged) == 1


def test_two_clusters_whose_middles_are_not_alike_stay_apart() -> None:
    # The same pairs, but r0 and r1 are as near to r4 as to one another: the middle of their group is r0, unlike r2.
    for like, joined in ((None, 0), (0.3, 1)):
        store = MemoryClusters()
        far = {} if like is None else {"r0": like}
        first = [arrive("r0"), arrive("r1", "r0"), Upsert("r2", 0, 1.0, far), arrive("r3", "r2")]
        changes = play(store, [*first, arrive("r4", *names(4)), arrive("r5", *names(5))], quorum=0.5)
        assert sum(isinstance(c, ClusterChange) and c.kind == "merged" for c in changes) == joined
        edges = store.read(SCOPE, ["r2"], [], edges=True).edges["r2"]
        assert edges["r4"].held == (None if joined else WEAK_BRIDGE)


def test_a_chain_of_strangers_stays_in_pieces_and_without_a_quorum_it_does_not() -> None:
    chain: list[Step] = [arrive("r0"), *(arrive(b, a) for a, b in pairwise(IDS))]
    stores = {quorum: MemoryClusters() for quorum in (0.0, 0.5, 1.0)}
    for quorum, store in stores.items():
        play(store, chain, quorum=quorum)
    assert clusters(stores[0.0]) == {frozenset(IDS)}
    assert max(map(len, clusters(stores[0.5]))) == 3
    assert max(map(len, clusters(stores[1.0]))) == 2


def test_everyone_like_everyone_is_one_cluster_at_any_quorum() -> None:
    clique: list[Step] = [arrive(record, *IDS[:n]) for n, record in enumerate(IDS)]
    for quorum in (0.0, 0.5, 1.0):
        store = MemoryClusters()
        play(store, clique, quorum=quorum)
        assert clusters(store) == {frozenset(IDS)}


@pytest.mark.parametrize(
    "compared",
    [
        pytest.param(lambda earlier: earlier[:20], id="with the oldest"),
        pytest.param(
            lambda earlier: random.Random(len(earlier)).sample(earlier, min(20, len(earlier))), id="by chance"
        ),
    ],
)
def test_a_crowd_of_which_each_is_compared_with_some_is_one_cluster(compared: Callable[[list[str]], list[str]]) -> None:
    crowd, store = names(80), MemoryClusters()
    play(store, [arrive(record, *compared(crowd[:n])) for n, record in enumerate(crowd)], quorum=0.5, neighbours=20)
    assert clusters(store, crowd) == {frozenset(crowd)}


def test_a_record_like_few_of_those_it_was_compared_with_does_not_join_a_crowd() -> None:
    crowd, store = names(12), MemoryClusters()
    steps = [arrive(record, *crowd[: min(4, n)]) for n, record in enumerate(crowd)]
    play(store, [*steps, Upsert("new", 0, 1.0, {"r0": 0.8})], quorum=0.5, neighbours=4)
    assert clusters(store, [*crowd, "new"]) == {frozenset(crowd)}
    assert store.read(SCOPE, ["new"], [], edges=True).edges["new"]["r0"].held == QUORUM


@settings(max_examples=150)
@given(lives(IDS))
def test_a_quorum_only_ever_splits_what_links_alone_would_hold_together(steps: list[Step]) -> None:
    strict, loose = MemoryClusters(), MemoryClusters()
    play(strict, steps, quorum=0.5)
    play(loose, steps)
    whole = clusters(loose)
    assert all(any(part <= cluster for cluster in whole) for part in clusters(strict))


@settings(max_examples=150)
@given(lives(IDS, max_size=15))
def test_at_a_quorum_of_all_every_pair_that_came_in_one_by_one_is_linked(steps: list[Step]) -> None:
    inserts = list({step.id: step for step in steps if isinstance(step, Upsert)}.values())
    store = MemoryClusters()
    play(store, inserts, quorum=1.0)
    edges = store.read(SCOPE, IDS, [], edges=True).edges
    for cluster in clusters(store):
        assert all(edges[a][b].match.duplicate for a, b in combinations(sorted(cluster), 2))


@settings(max_examples=100)
@given(lives(IDS), st.sets(st.integers(1, 25)), st.sampled_from([0.34, 0.5, 1.0]))
def test_batching_does_not_change_what_a_quorum_decides(steps: list[Step], cuts: set[int], quorum: float) -> None:
    assert play(MemoryClusters(), steps, quorum=quorum) == play(MemoryClusters(), steps, cuts=cuts, quorum=quorum)


@pytest.mark.parametrize(
    ("likelier", "less", "joined", "held"),
    [
        (0.9, 0.9, set(), {"r0": AMBIGUOUS, "r1": AMBIGUOUS}),
        (0.95, 0.8, set(), {"r0": AMBIGUOUS, "r1": AMBIGUOUS}),  # odds of 19 and 4
        (0.99, 0.7, {frozenset({"r0", "r2"})}, {"r1": RULED_APART}),  # odds of 99 and 2.3
    ],
)
def test_a_record_like_two_that_differ_joins_the_one_it_is_far_likelier_to_be(
    likelier: float, less: float, joined: set[frozenset[str]], held: dict[str, str]
) -> None:
    store = MemoryClusters()
    play(store, [arrive("r0"), arrive("r1"), Say("r0", "r1", "different")], quorum=0.5)
    play(store, [Upsert("r2", 0, 1.0, {"r0": likelier, "r1": less})], quorum=0.5, start=3)

    assert clusters(store) == joined
    near = store.read(SCOPE, ["r2"], [], edges=True).edges["r2"]
    assert {other: edge.held for other, edge in near.items() if edge.held} == held
