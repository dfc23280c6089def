"""What every ClusterStore gives back of what was written, over memory, a real Redis and a real Redis Cluster."""

import time
from itertools import pairwise

from consumer.ports import ClusterStore, Known
from consumer.records import Cluster, Evidence, Match, Member, Retired
from tests.cluster_scenarios import PARTITION, SCOPE, names
from tests.stored import NASTY, OpenStore, claimed, cluster, edge, event, position, record, redo, update, verdict


def test_nothing_is_known_of_a_new_scope(store: ClusterStore) -> None:
    found = store.read(SCOPE, ["r", "r"], ["c"], edges=True)
    assert (found.records, found.assignments, found.erased, found.clusters) == ({}, {}, {}, {})
    assert found.edges == {"r": {}}
    assert found.free == {"c"}
    assert store.read(SCOPE, [], [], edges=True).edges == {}
    assert store.known(SCOPE, []).records == {}
    assert store.outbox(SCOPE) == []
    assert store.clusters(SCOPE, ["c"]) == {}
    assert store.clusters(SCOPE, []) == {}
    assert store.assignment(SCOPE, "r") is None


def test_a_cluster_is_read_whole_with_the_edges_of_its_members(store: ClusterStore) -> None:
    epoch = claimed(store)
    edges = [edge("a", "b"), edge("b", "c", candidate="c"), edge("c", "d", held="size_cap"), edge("d", "e")]
    whole = cluster("C", ["a", "b", "c"])
    records = {name: record(i) for i, name in enumerate("abcde")}
    store.apply(SCOPE, PARTITION, epoch, 0, update(records=records, clusters={"C": whole}, edges=edges))

    found = store.read(SCOPE, ["b"], ["C", "D"], edges=True)
    assert found.records == {"b": record(1)}
    assert found.assignments == {"b": "C"}
    assert found.clusters == {"C": whole}
    assert found.free == {"D"}
    assert found.edges == {
        "a": {"b": edges[0]},
        "b": {"a": edges[0], "c": edges[1]},
        "c": {"b": edges[1], "d": edges[2]},
    }
    assert store.read(SCOPE, ["b"], [], edges=False).edges == {}
    assert store.clusters(SCOPE, ["C", "D"]) == {"C": whole}
    assert store.assignment(SCOPE, "a") == "C"
    assert store.read("elsewhere", ["b"], ["C"], edges=True).records == {}


def test_much_is_read_at_once(store: ClusterStore) -> None:
    epoch = claimed(store)
    names = [f"{number}" for number in range(5_000)]  # more than a command of a script takes
    edges = [edge(a, b) for a, b in pairwise(names)]
    known, forgotten = names[:-1], names[-1]
    records = {name: record() for name in known}
    update_all = update(
        records=records, clusters={"C": cluster("C", known)}, edges=edges, erased={forgotten: position()}
    )
    assert store.apply(SCOPE, PARTITION, epoch, 0, update_all)

    assert store.known(SCOPE, names) == Known(records, {forgotten: position()})
    found = store.read(SCOPE, [forgotten, names[0]], names, edges=True)
    assert found.clusters.keys() == {"C"}
    assert found.free == set(names)
    assert sum(map(len, found.edges.values())) == 2 * len(edges)


def test_a_cluster_changes_by_its_members(store: ClusterStore) -> None:
    epoch = claimed(store)
    store.apply(SCOPE, PARTITION, epoch, 0, update(clusters={"C": cluster("C", ["a", "b", "c"])}))
    changed = Cluster("C", 2, 1_000, {"b": Member(1_001, 1 / 7), "c": Member(5, 0.5), "d": Member(6, 0.25)}, "c")
    store.apply(
        SCOPE,
        PARTITION,
        epoch,
        1,
        update(
            clusters={"C": changed},
            members_put={"C": ["c", "d"]},
            members_dropped={"C": ["a"]},
            assignments={"a": None, "d": "C"},
        ),
    )
    assert store.clusters(SCOPE, ["C"]) == {"C": changed}
    assert [store.assignment(SCOPE, name) for name in "abcd"] == [None, "C", "C", "C"]


def test_a_retired_id_points_on_and_is_never_free_again(store: ClusterStore) -> None:
    epoch = claimed(store)
    store.apply(SCOPE, PARTITION, epoch, 0, update(clusters={"C": cluster("C", "ab"), "D": cluster("D", "cd")}))
    ended = {"C": Retired(2, "D"), "E": Retired(4, None)}
    store.apply(SCOPE, PARTITION, epoch, 1, update(clusters=ended, assignments={"a": None, "b": None}))

    assert store.clusters(SCOPE, ["C", "E", "F"]) == ended
    found = store.read(SCOPE, ["a", "c"], ["C", "E", "D", "F"], edges=False)
    assert found.free == {"F"}
    assert found.clusters.keys() == {"D"}


def test_an_edge_goes_at_both_ends(store: ClusterStore) -> None:
    epoch = claimed(store)
    store.apply(SCOPE, PARTITION, epoch, 0, update(edges=[edge("a", "b"), edge("a", "c")]))
    store.apply(SCOPE, PARTITION, epoch, 1, update(edges_dropped=[("a", "b"), ("a", "z")], edges=[edge("b", "c")]))
    assert store.read(SCOPE, ["a", "b", "c"], [], edges=True).edges == {
        "a": {"c": edge("a", "c")},
        "b": {"c": edge("b", "c")},
        "c": {"a": edge("a", "c"), "b": edge("b", "c")},
    }


def test_an_erasure_is_remembered_for_a_while(open_store: OpenStore) -> None:
    store = open_store(erased_ttl_seconds=1)
    epoch = claimed(store)
    store.apply(SCOPE, PARTITION, epoch, 0, update(erased={"a": position(1), "b": position(2)}))
    store.apply(SCOPE, PARTITION, epoch, 1, update(records={"b": record(3)}))
    assert store.read(SCOPE, ["a", "b", "c"], [], edges=False).erased == {"a": position(1)}
    assert store.known(SCOPE, ["a", "b", "c"]).erased == {"a": position(1)}
    assert store.known(SCOPE, ["a", "b", "c"]).records == {"b": record(3)}
    for_good = open_store(erased_ttl_seconds=None)
    for_good.apply(SCOPE, PARTITION, claimed(for_good), 0, update(erased={"a": position(1)}))
    time.sleep(1.2)
    assert store.read(SCOPE, ["a", "b", "c"], [], edges=False).erased == {}
    assert for_good.known(SCOPE, ["a"]).erased == {"a": position(1)}


def test_words_come_with_the_edges_and_are_replaced_whole(store: ClusterStore) -> None:
    epoch = claimed(store)
    ab, ac = verdict("a", "b"), verdict("a", "c", "same")
    said = {"a": {"b": ab, "c": ac}, "b": {"a": ab}, "c": {"a": ac}}
    store.apply(SCOPE, PARTITION, epoch, 0, update(clusters={"C": cluster("C", ["b", "d"])}, verdicts=said))
    assert store.read(SCOPE, ["a", "d"], [], edges=True).verdicts == {"a": said["a"], "b": said["b"]}
    assert store.read(SCOPE, ["a"], [], edges=False).verdicts == {}

    store.apply(SCOPE, PARTITION, epoch, 1, update(verdicts={"a": {"c": ac}, "b": {}, "z": {}}))
    assert store.read(SCOPE, ["a", "b", "c"], [], edges=True).verdicts == {"a": {"c": ac}, "c": {"a": ac}}


def test_what_lies_beside_is_told_of_by_its_state_alone(store: ClusterStore) -> None:
    epoch = claimed(store)
    states = {name: record(i) for i, name in enumerate("abc")}
    store.apply(SCOPE, PARTITION, epoch, 0, update(records=states, edges=[edge("a", "b")], erased={"d": position(7)}))
    found = store.read(SCOPE, ["a"], edges=True, beside=["b", "d", "e"])
    assert found.records == {"a": states["a"], "b": states["b"]}
    assert found.edges.keys() == {"a"}
    assert found.erased == {}


def test_the_redo_queue_keeps_the_order_of_the_first_put(store: ClusterStore) -> None:
    epoch = claimed(store)
    assert redo(store, 5) == ([], 0)
    many = names(12)  # past nine: numbers are ordered, not their digits
    store.apply(SCOPE, PARTITION, epoch, 0, update(redo_put=[*many, many[0]]))
    store.apply(SCOPE, PARTITION, epoch, 1, update(redo_put=["r3", "é", "r1"], redo_dropped=["r1", "unknown"]))
    assert redo(store, 3) == (["r0", "r2", "r3"], 13)
    assert redo(store, 99) == (["r0", *many[2:], "é", "r1"], 13)
    assert redo(store, 0) == ([], 0), "not asked for"


def test_names_may_hold_anything(store: ClusterStore) -> None:
    for scope in NASTY:
        epoch = claimed(store, scope)
        edges = [edge(one, other) for one in NASTY for other in NASTY if one < other]
        records = {name: record(i) for i, name in enumerate(NASTY)}
        values = [event(bytes(range(256)) + name.encode()) for name in NASTY]
        said = {one: {other: verdict(one, other) for other in NASTY if other != one} for one in NASTY}
        held = update(
            records=records,
            clusters={scope: cluster(scope, NASTY)},
            edges=edges,
            outbox=values,
            verdicts=said,
            redo_put=NASTY,
        )
        assert store.apply(scope, PARTITION, epoch, 0, held)

    assert store.scopes(PARTITION) == sorted(NASTY)
    for scope in NASTY:
        found = store.read(scope, NASTY, [*NASTY, "free"], edges=True)
        assert found.records == records
        assert found.clusters == {scope: cluster(scope, NASTY)}
        assert found.free == {*NASTY, "free"} - {scope}
        assert found.verdicts == said
        assert redo(store, 99, scope) == (NASTY, len(NASTY))
        assert {(e.a, e.b): e for near in found.edges.values() for e in near.values()} == {(e.a, e.b): e for e in edges}
        assert [entry for _, entry in store.outbox(scope)] == values


def test_what_is_handed_out_is_a_copy(store: ClusterStore) -> None:
    epoch = claimed(store)
    members, similarities = {"a": Member(1, 0.5), "b": Member(2, 0.5)}, {"text": 0.5}
    evidence = Evidence("a", "b", Match("a", 0.9, duplicate=True, similarities=similarities, contributions={}))
    given = update(clusters={"C": Cluster("C", 1, 1, members, "a")}, edges=[evidence], records={"a": record()})
    store.apply(SCOPE, PARTITION, epoch, 0, given)
    members.clear()
    similarities.clear()
    for _ in range(2):
        found = store.read(SCOPE, ["a"], ["C"], edges=True)
        assert found.clusters["C"].members == {"a": Member(1, 0.5), "b": Member(2, 0.5)}
        assert found.edges["a"]["b"].match.similarities == {"text": 0.5}
        for handed in (found.records, found.edges["a"], found.clusters["C"].members, found.assignments):
            assert isinstance(handed, dict)
            handed.clear()
