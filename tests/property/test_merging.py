"""The merge rules: what one wrong link cannot do, and what many right ones still can."""

from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.merging import QUORUM
from consumer.records import ClusterChange, PossibleChange
from tests.cluster_scenarios import SCOPE, Step, Upsert, lives, names, play

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
    # r4 is like all four, r5 too: of the pairs across {r0, r1, r4, ...} and {r2, r3} at least half are duplicates then
    changes = play(store, [*TWO_PAIRS, arrive("r4", *names(4)), arrive("r5", *names(5))], quorum=0.5)
    assert clusters(store) == {frozenset(names(6))}
    merged = [c for c in changes if isinstance(c, ClusterChange) and c.kind == "merged"]
    assert len(merged) == 1


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
