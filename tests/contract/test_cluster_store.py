"""What every ClusterStore promises, over memory, a real Redis and a real Redis Cluster."""

import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis, RedisCluster
from redis.crc import key_slot

from consumer.adapters import redis_layout
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.redis_clusters import RedisClusters
from consumer.errors import FencedError, LostWritesError, SettingsError, StoreError
from consumer.ports import ClusterStore, Known
from consumer.records import (
    Cluster,
    Evidence,
    Match,
    Member,
    OutboxEntry,
    Position,
    RecordState,
    Retired,
    Saying,
    ScopeUpdate,
    Verdict,
)
from consumer.redo import Repair
from tests.cluster_scenarios import MINT, PARTITION, SCOPE, Erase, Say, Step, Upsert, disputed_lives, names, play
from tests.services import Server

KEY = bytes(range(16))
Open = Callable[..., ClusterStore]
OpenRedis = Callable[..., RedisClusters]
NASTY = ["", "a:b", "{x}", "}{", "line\nbreak", "emoji 🦊", "nul\0", "é", "e\u0301", "edges:a:b", "0", "%7B", '"']


@pytest.fixture
def open_redis() -> Iterator[OpenRedis]:
    """Opens stores on a Redis and closes them in the end."""
    with ExitStack() as opened:

        def open_(url: str, prefix: str, *, cluster: bool = False, **options: Any) -> RedisClusters:
            chosen = {"profile": "pro/file", "key": KEY, "erased_ttl_seconds": 60, **options}
            return opened.enter_context(closing(RedisClusters(url, prefix=prefix, cluster=cluster, **chosen)))

        yield open_


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


def position(offset: int = 0) -> Position:
    return Position("records", 0, offset)


def record(offset: int = 0) -> RecordState:
    return RecordState(position(offset), 1_700_000_000_123 + offset, 0.1 + offset)


def edge(one: str, other: str, *, held: str | None = None, candidate: str | None = None) -> Evidence:
    a, b = sorted((one, other))
    match = Match(candidate or a, 1 / 3, held is not None, {"text": 0.123456789012345, "söund": -1.0}, {"text": 1e-300})
    return Evidence(a, b, match, held)


def cluster(cid: str, members: Iterable[str], version: int = 1) -> Cluster:
    found = {name: Member(1_000 + i, i / 7) for i, name in enumerate(members)}
    return Cluster(cid, version, 1_000, found, next(iter(found)))


def update(**changes: Any) -> ScopeUpdate:
    live = {cid: c for cid, c in changes.get("clusters", {}).items() if isinstance(c, Cluster)}
    nothing = ScopeUpdate(
        records={},
        assignments={r: cid for cid, c in live.items() for r in c.members},
        clusters={},
        members_put={cid: list(c.members) for cid, c in live.items()},
        members_dropped={},
        edges=(),
        edges_dropped=(),
        erased={},
        outbox=(),
    )
    return replace(nothing, **changes)


def event(value: bytes = b"value") -> OutboxEntry:
    return OutboxEntry("events", "key", value, 7)


def claimed(store: ClusterStore, scope: str = SCOPE) -> int:
    epoch = store.take_epoch(PARTITION)
    store.claim(scope, PARTITION, epoch)
    return epoch


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


def verdict(one: str, other: str, says: Saying = "different") -> Verdict:
    a, b = sorted((one, other))
    return Verdict(a, b, says, "Zoë", 1_700_000_000_123, SCOPE, position(7), 1_700_000_000_456)


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


# Redis alone


@pytest.fixture(params=[False, True], ids=["redis", "redis_cluster"])
def real(
    request: pytest.FixtureRequest, open_redis: OpenRedis, unique: str
) -> Iterator[tuple[RedisClusters, Callable[[], dict[str, bytes]]]]:
    """A store, and what lies under its prefix: key → everything in it."""
    url = request.getfixturevalue("redis_cluster_url" if request.param else "redis_url")
    store = open_redis(url, unique, cluster=request.param)
    client: Any = RedisCluster.from_url(url) if request.param else Redis.from_url(url)

    def dump() -> dict[str, bytes]:
        keys = list(client.scan_iter(match=f"{unique}:*", count=1_000))
        return {key.decode(): repr(_content(client, key)).encode("unicode_escape") for key in keys}

    yield store, dump
    if request.param:
        client.disconnect_connection_pools()  # closing leaves its sockets open
    client.close()


def _content(client: Any, key: bytes) -> Any:
    read = {b"hash": "HGETALL", b"set": "SMEMBERS", b"string": "GET"}
    kind = client.type(key)
    return client.zrange(key, 0, -1) if kind == b"zset" else client.execute_command(read[kind], key)


def test_the_keys_of_a_scope_share_a_slot(real: tuple[RedisClusters, Callable[[], dict[str, bytes]]]) -> None:
    store, dump = real
    for scope in NASTY:
        epoch = claimed(store, scope)
        held = update(
            records={"r": record()},
            clusters={"C": cluster("C", NASTY)},
            edges=[edge(n, "zz") for n in NASTY],
            erased={"e": position()},
            outbox=[event()],
            verdicts={"r": {"s": verdict("r", "s")}},
            redo_put=["r"],
        )
        store.apply(scope, PARTITION, epoch, 0, held)
    roots: dict[str, set[int]] = {}
    for key in dump():
        root = key[: key.index("}:") + 1]
        roots.setdefault(root, set()).add(key_slot(key.encode()))
    assert len(roots) == len(NASTY) + 1, "a root for each scope and one for the profile"
    assert all(len(slots) == 1 for slots in roots.values())


def test_an_erased_record_leaves_no_trace(real: tuple[RedisClusters, Callable[[], dict[str, bytes]]]) -> None:
    store, dump = real
    secret = f"person{secrets.token_hex(8)}"
    others = dict.fromkeys(names(3), True)
    steps: list[Step] = [
        *(Upsert(name, 5, 0.5) for name in others),
        Upsert(secret, 1, 1.0, others),  # oldest and best: the cluster is named after it and keeps it
        Upsert("r7", 9, 0.5, {secret: False}),
        Say(min(secret, "r7"), max(secret, "r7"), "same"),
        Say(min(secret, "r1"), max(secret, "r1"), "different"),
        Erase("r0"),
    ]
    play(store, steps, repair=Repair(0, 0))
    assert any(secret in key or secret.encode() in value for key, value in dump().items())
    play(store, [Erase(secret)], start=len(steps))
    epoch = claimed(store)
    for number, _ in store.outbox(SCOPE):
        store.acknowledge(SCOPE, epoch, number)

    left = dump()
    assert any(":erased:" in key for key in left)
    assert [key for key, value in left.items() if secret in key or secret.encode() in value] == []


def test_a_full_redis_refuses_a_batch_whole(redis_server: Server, open_redis: OpenRedis, unique: str) -> None:
    store = open_redis(redis_server.address, unique)
    epoch = claimed(store)
    store.apply(SCOPE, PARTITION, epoch, 0, update(clusters={"C": cluster("C", "ab")}, outbox=[event()]))
    with Redis.from_url(redis_server.address) as client:
        before = {key: _content(client, key) for key in client.scan_iter()}
        client.config_set("maxmemory", 1)
        # Removing comes first in it, and a full Redis allows that: only the guard makes it wait.
        batch = update(
            assignments={"a": None},
            members_dropped={"C": ["a"]},
            clusters={"C": cluster("C", "b", 2)},
            records={name: record() for name in names(100)},
            outbox=[event()],
        )
        with pytest.raises(StoreError, match="out of memory"):
            store.apply(SCOPE, PARTITION, epoch, 1, batch)
        with pytest.raises(StoreError, match="out of memory"):
            store.claim(SCOPE, PARTITION, epoch)
        assert {key: _content(client, key) for key in client.scan_iter()} == before
        assert store.clusters(SCOPE, ["C"]) == {"C": cluster("C", "ab")}, "reading goes on"
        store.acknowledge(SCOPE, epoch, store.outbox(SCOPE)[-1][0])
        assert store.outbox(SCOPE) == [], "so does what frees memory"

        client.config_set("maxmemory", 0)
    assert store.apply(SCOPE, PARTITION, epoch, 1, batch)


def test_memory_that_runs_out_within_a_batch_does_not_cut_it(
    redis_server: Server, open_redis: OpenRedis, unique: str
) -> None:
    store = open_redis(redis_server.address, unique)
    epoch = claimed(store)
    with Redis.from_url(redis_server.address) as client:
        # The batch itself counts while it is on its way: there is room for it, but not for what it writes.
        limit = client.info()["used_memory"] + 10_000_000
        client.config_set("maxmemory", limit)
        assert store.apply(SCOPE, PARTITION, epoch, 0, update(outbox=[event(b"%d" % i) for i in range(100_000)]))
        assert client.info()["used_memory"] > limit
        assert len(store.outbox(SCOPE)) == 100_000
        with pytest.raises(StoreError, match="out of memory"):
            store.apply(SCOPE, PARTITION, epoch, 1, update(outbox=[event()]))


def test_a_user_who_lacks_a_command_is_told_before_anything_is_written(
    redis_server: Server, open_redis: OpenRedis, unique: str
) -> None:
    with Redis.from_url(redis_server.address) as client:
        client.acl_setuser("dedup", enabled=True, passwords=["+s3cret"], categories=["+@all"], keys=[f"{unique}:*"])
        url = redis_server.address.replace("redis://", "redis://dedup:s3cret@")
        store = open_redis(url, unique)
        epoch = claimed(store)
        assert store.apply(SCOPE, PARTITION, epoch, 0, update(outbox=[event()]))
        with pytest.raises(StoreError, match="ACL") as refused:
            open_redis(url, "elsewhere").take_epoch(0)
        assert "s3cret" not in str(refused.value)
        client.acl_setuser("dedup", enabled=True, commands=["-hdel"])
        with pytest.raises(StoreError, match="ACL"):
            claimed(store)
        with pytest.raises(StoreError, match="password in the URL is wrong") as refused:
            open_redis(url.replace("s3cret", "s4cret"), unique).take_epoch(0)
        assert "s4cret" not in str(refused.value)


def test_a_redis_that_is_down_is_named_without_its_password(
    redis_server: Server, open_redis: OpenRedis, unique: str
) -> None:
    url = redis_server.address.replace("redis://", "redis://user:s3cret@")
    redis_server.kill()
    for cluster_mode in (False, True):
        store = open_redis(url.removesuffix("/0"), unique, cluster=cluster_mode)
        calls: list[Callable[[], object]] = [
            partial(store.take_epoch, 0),
            store.check,
            partial(store.read, SCOPE, ["r"], [], edges=True),
            partial(store.apply, SCOPE, PARTITION, 1, 0, update()),
        ]
        for call in calls:
            with pytest.raises(StoreError, match=r"redis://127\.0\.0\.1:\d+.*check that it runs") as away:
                call()
            assert "s3cret" not in str(away.value)
            assert "user" not in str(away.value)


def test_a_restarted_redis_is_used_again_with_what_it_acknowledged(
    redis_server: Server, open_redis: OpenRedis, unique: str
) -> None:
    store = open_redis(redis_server.address, unique)
    epoch = claimed(store)
    store.apply(SCOPE, PARTITION, epoch, 4, update(clusters={"C": cluster("C", "ab")}, outbox=[event()]))
    redis_server.restart()

    assert not store.apply(SCOPE, PARTITION, epoch, 4, update(outbox=[event()]))
    assert store.clusters(SCOPE, ["C"]) == {"C": cluster("C", "ab")}
    assert store.claim(SCOPE, PARTITION, epoch) == 4
    assert len(store.outbox(SCOPE)) == 1


@pytest.mark.parametrize("name", ["redis_url", "redis_cluster_url"])
def test_closing_leaves_no_connection_open(
    name: str, request: pytest.FixtureRequest, open_redis: OpenRedis, unique: str
) -> None:
    url = request.getfixturevalue(name)
    store = open_redis(f"{url}?client_name={unique}", unique, cluster="cluster" in name)
    claimed(store)
    with Redis.from_url(url) as client:
        assert _connections(client, unique)
        store.close()
        # the server hears of it a moment later
        for _ in range(100):
            if not _connections(client, unique):
                break
            time.sleep(0.02)
        assert not _connections(client, unique)


def _connections(client: Any, name: str) -> list[Any]:
    return [each for each in client.client_list() if each["name"] == name]


def test_cluster_mode_has_to_fit_the_server(redis_url: str, open_redis: OpenRedis, unique: str) -> None:
    with pytest.raises(StoreError, match="switch cluster mode off"):
        open_redis(redis_url, unique, cluster=True).take_epoch(0)


def test_check_tells_how_safe_the_data_are(
    real: tuple[RedisClusters, Callable[[], dict[str, bytes]]], request: pytest.FixtureRequest
) -> None:
    facts = real[0].check()
    assert facts["mode"] == ("cluster" if "redis_cluster" in request.node.name else "standalone")
    assert facts["role"] == "master"
    assert str(facts["version"])[0].isdigit()
    assert isinstance(facts["aof"], bool)
    assert facts["maxmemory_policy"]
    assert facts["maxmemory"] is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "redis://user:pa#s3cret@host:6379",
        "redis://user:12/s3cret@host:6379",
        "redis://user:pa/s3cret@host:6379",
        "redis://user:s3cret@host:6379?decode_responses=true",
        "redis://user:s3cret@host:6379?no_such_option=1",
        "redis://user:s3cret@host:6379?socket_timeout=soon",
    ],
)
def test_a_bad_url_is_refused_without_its_password(url: str, open_redis: OpenRedis) -> None:
    with pytest.raises(SettingsError) as refused:
        open_redis(url, "prefix")
    assert "s3cret" not in str(refused.value)


def test_bad_arguments_are_refused_together(open_redis: OpenRedis) -> None:
    with pytest.raises(SettingsError, match=r"(?s)prefix.*key.*erased_ttl_seconds"):
        open_redis("redis://host", "a{b}", key=b"short", erased_ttl_seconds=0)


def test_two_scopes_never_share_a_key() -> None:
    scopes = ["a", "b", "a/b", "a}:records", "{a}", "a%2Fb", ""]
    held = [redis_layout.Names("p", profile, scope, KEY).head for profile in ("x", "x/a") for scope in scopes]
    assert len(set(held)) == len(held)
