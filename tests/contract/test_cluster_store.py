"""What every ClusterStore promises of writes, over memory, a real Redis and a real Redis Cluster: epochs, outbox, lives."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.errors import FencedError, LostWritesError, SettingsError
from consumer.ports import ClusterStore
from consumer.records import OutboxEntry, Retired
from consumer.redo import Repair
from tests.cluster_scenarios import MINT, PARTITION, SCOPE, Step, disputed_lives, names, play
from tests.stored import OpenStore, claimed, cluster, edge, event, record, redo, update

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
    open_store: OpenStore, steps: list[Step], cuts: set[int], max_size: int, quorum: float, repair: Repair
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
