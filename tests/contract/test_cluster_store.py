"""What every ClusterStore promises, over memory, a real Redis and a real Redis Cluster."""

import math
import time
from collections.abc import Callable
from itertools import count, pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.errors import FencedError, LostWritesError, SettingsError
from consumer.ports import ClusterStore, Known
from consumer.records import (
    Cluster,
    Evidence,
    Match,
    Member,
    OutboxEntry,
    Retired,
)
from consumer.redo import Repair
from tests.cluster_scenarios import MINT, PARTITION, SCOPE, Step, disputed_lives, names, play
from tests.stored import NASTY, OpenRedis, claimed, cluster, edge, event, position, record, update, verdict

Open = Callable[..., ClusterStore]


@pytest.fixture(params=["memory", "redis", "redis_cluster"])
def open_store(request: pytest.FixtureRequest, open_redis: OpenRedis, unique: str) -> Open:
    """Opens stores, each with nothing in it."""
    number = count()

    def open_(*, erased_ttl_seconds: int | None = 60) -> ClusterStore:
        if request.param == "memory":
            return MemoryClusters(erased_ttl_seconds=erased_ttl_seconds or math.inf)
        url = request.getfixturevalue(f"{request.param}_url")
        cluster = request.param == "redis_cluster"
        return open_redis(url, f"{unique}-{next(number)}", cluster=cluster, erased_ttl_seconds=erased_ttl_seconds)

    return open_


@pytest.fixture
def store(open_store: Open) -> ClusterStore:
    return open_store()


# epochs and offsets


def test_epochs_of_a_partition_grow(store: ClusterStore) -> None:
    assert store.epochs([0, 1]) == {0: 0, 1: 0}
    assert [store.take_epoch(0), store.take_epoch(0), store.take_epoch(1), store.take_epoch(0)] == [1, 2, 1, 3]
    assert store.epochs([1, 0]) == {0: 3, 1: 1}
    assert store.epochs([]) == {}


def test_a_store_that_is_older_than_it_said_takes_no_update(store: ClusterStore) -> None:
    epoch = claimed(store)
    assert store.apply(SCOPE, PARTITION, epoch, 3, update(), after=-1)
    assert store.apply(SCOPE, PARTITION, epoch, 5, update(), after=3)
    with pytest.raises(LostWritesError, match="up to offset 5, and had said 6"):
        store.apply(SCOPE, PARTITION, epoch, 9, update(records={"r": record()}), after=6)
    assert not store.apply(SCOPE, PARTITION, epoch, 5, update(), after=9), "applied before"
    assert store.read(SCOPE, ["r"], [], edges=False).records == {}
    assert store.claim(SCOPE, PARTITION, epoch) == 5


def test_a_claim_lists_the_scope_and_tells_the_last_offset(store: ClusterStore) -> None:
    epoch = store.take_epoch(PARTITION)
    assert store.scopes(PARTITION) == []
    assert store.claim("b", PARTITION, epoch) == -1
    assert store.claim("a", PARTITION, epoch) == -1
    assert store.claim("a", PARTITION, epoch) == -1
    assert store.scopes(PARTITION) == ["a", "b"]
    assert store.scopes(PARTITION + 1) == []

    assert store.applied("a", PARTITION) == -1
    assert store.apply("a", PARTITION, epoch, 7, update())
    assert (store.applied("a", PARTITION), store.applied("b", PARTITION), store.applied("c", 9)) == (7, -1, -1)
    assert store.claim("a", PARTITION, epoch + 1) == 7
    assert store.claim("b", PARTITION, epoch + 1) == -1
    with pytest.raises(SettingsError, match=f"lived in partition {PARTITION}"):
        store.claim("a", PARTITION + 1, epoch + 1)


def test_an_older_epoch_can_do_nothing_and_changes_nothing(store: ClusterStore) -> None:
    old, new = claimed(store), claimed(store)
    assert store.apply(SCOPE, PARTITION, new, 0, update(outbox=[event()]))
    for forbidden in (
        lambda: store.claim(SCOPE, PARTITION, old),
        lambda: store.apply(SCOPE, PARTITION, old, 5, update(records={"r": record()})),
        lambda: store.acknowledge(SCOPE, old, 1),
    ):
        with pytest.raises(FencedError, match=f"epoch {new}.*epoch {old}"):
            forbidden()

    assert store.read(SCOPE, ["r"], [], edges=False).records == {}
    assert len(store.outbox(SCOPE)) == 1
    assert store.apply(SCOPE, PARTITION, new, 1, update())


def test_a_scope_that_was_not_claimed_cannot_be_written(store: ClusterStore) -> None:
    epoch = claimed(store)
    with pytest.raises(FencedError):
        store.apply("other", PARTITION, epoch, 0, update())
    with pytest.raises(FencedError):
        store.acknowledge("other", epoch, 1)


def test_a_batch_is_applied_once_per_partition_and_offset(store: ClusterStore) -> None:
    epoch = claimed(store)
    first = update(records={"r": record(1)}, outbox=[event(b"1")])
    again = update(records={"r": record(2), "s": record(2)}, outbox=[event(b"2")])
    assert store.apply(SCOPE, PARTITION, epoch, 10, first)
    assert not store.apply(SCOPE, PARTITION, epoch, 10, again)
    assert not store.apply(SCOPE, PARTITION, epoch, 9, again)
    assert store.read(SCOPE, ["r", "s"], [], edges=False).records == {"r": record(1)}
    assert [entry.value for _, entry in store.outbox(SCOPE)] == [b"1"]

    assert store.apply(SCOPE, PARTITION + 1, epoch, 3, again), "offsets are counted per partition"
    assert store.read(SCOPE, ["r", "s"], [], edges=False).records == {"r": record(2), "s": record(2)}


def test_beliefs_are_what_the_last_update_that_has_any_left(store: ClusterStore) -> None:
    epoch = claimed(store)
    assert store.beliefs(SCOPE) == (None, None)
    assert store.apply(SCOPE, PARTITION, epoch, 0, update())
    assert store.beliefs(SCOPE) == (None, None)
    every_byte = bytes(range(256))
    assert store.apply(SCOPE, PARTITION, epoch, 1, update(beliefs=every_byte, whitening=every_byte[::-1]))
    assert store.apply(SCOPE, PARTITION, epoch, 2, update(records={"r": record()}))
    assert not store.apply(SCOPE, PARTITION, epoch, 2, update(beliefs=b"a batch that came twice"))
    assert store.beliefs(SCOPE) == (every_byte, every_byte[::-1])

    newer = claimed(store)
    with pytest.raises(FencedError):
        store.apply(SCOPE, PARTITION, epoch, 3, update(beliefs=b"of a zombie"))
    assert store.beliefs(SCOPE) == (every_byte, every_byte[::-1])
    assert store.apply(SCOPE, PARTITION, newer, 3, update(beliefs=b""))
    assert store.apply(SCOPE, PARTITION, newer, 4, update(whitening=b"anew"))
    assert store.beliefs(SCOPE) == (b"", b"anew")
    assert store.beliefs("another scope") == (None, None)


# reading back


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


def test_an_erasure_is_remembered_for_a_while(open_store: Open) -> None:
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


def redo(store: ClusterStore, count: int, scope: str = SCOPE) -> tuple[list[str], int]:
    """The beginning of the queue, and how many are on it."""
    found = store.read(scope, [], redo=count)
    return found.redo, found.waiting


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


# the outbox


def test_the_outbox_keeps_order_until_acknowledged(store: ClusterStore) -> None:
    epoch = claimed(store)
    entries = [event(b"%d" % i) for i in range(12)]  # past nine: numbers are ordered, not their digits
    entries[4] = OutboxEntry("possible", "schlüssel", b"\x00\xff", 2**53)
    store.apply(SCOPE, PARTITION, epoch, 0, update(outbox=entries[:5]))
    store.apply(SCOPE, PARTITION, epoch, 1, update(outbox=entries[5:]))
    pending = store.outbox(SCOPE)
    assert [entry for _, entry in pending] == entries
    numbers = [number for number, _ in pending]
    assert numbers == sorted(set(numbers))

    store.acknowledge(SCOPE, epoch, numbers[9])
    store.acknowledge(SCOPE, epoch, numbers[3])
    assert store.outbox(SCOPE) == pending[10:]
    store.acknowledge(SCOPE, epoch, numbers[-1])
    assert store.outbox(SCOPE) == []

    store.apply(SCOPE, PARTITION, epoch, 2, update(outbox=[event()]))
    assert store.outbox(SCOPE)[0][0] > numbers[-1], "numbers go on after the outbox was empty"


def test_a_large_batch_is_one_write(store: ClusterStore) -> None:
    epoch = claimed(store)
    members = names(5_000)
    whole = cluster("C", members)
    outbox = [event(b"x" * 500 + b"%d" % i) for i in range(20_000)]
    held = update(
        records={name: record(i) for i, name in enumerate(members)},
        clusters={"C": whole},
        edges=[edge(members[0], other) for other in members[1:]],
        outbox=outbox,
    )
    assert store.apply(SCOPE, PARTITION, epoch, 0, held)
    found = store.read(SCOPE, members, [], edges=True)
    assert found.records == held.records
    assert found.clusters == {"C": whole}
    assert len(found.edges[members[0]]) == 4_999
    assert [entry for _, entry in store.outbox(SCOPE)] == outbox
    ended = update(
        records=dict.fromkeys(members),
        assignments=dict.fromkeys(members),
        clusters={"C": Retired(2, None)},
        edges_dropped=[tuple(sorted((members[0], other))) for other in members[1:]],
    )
    assert store.apply(SCOPE, PARTITION, epoch, 1, ended)
    found = store.read(SCOPE, members, [], edges=True)
    assert (found.records, found.assignments, found.clusters) == ({}, {}, {})
    assert not any(found.edges.values())


# lives


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=disputed_lives(names(8)),
    cuts=st.sets(st.integers(1, 30)),
    max_size=st.sampled_from([3, 1_000]),
    quorum=st.sampled_from([0.0, 0.5]),
    repair=st.builds(Repair, st.sampled_from([0, 4, 1_000]), st.integers(0, 2)),
)
def test_every_store_ends_in_the_same_state(
    open_store: Open, steps: list[Step], cuts: set[int], max_size: int, quorum: float, repair: Repair
) -> None:
    store, memory = open_store(), MemoryClusters()
    changes = play(store, steps, cuts=cuts, max_size=max_size, quorum=quorum, repair=repair, eager=False)
    assert changes == play(memory, steps, max_size=max_size, quorum=quorum, repair=repair)

    ids = names(8)
    ever = sorted({MINT(name) for name in ids} | {c.cluster_id for c in changes if hasattr(c, "cluster_id")})
    assert store.read(SCOPE, ids, ever, edges=True) == memory.read(SCOPE, ids, ever, edges=True)
    assert store.clusters(SCOPE, ever) == memory.clusters(SCOPE, ever)
    assert redo(store, 99) == redo(memory, 99)
    assert [entry for _, entry in store.outbox(SCOPE)] == [entry for _, entry in memory.outbox(SCOPE)]
