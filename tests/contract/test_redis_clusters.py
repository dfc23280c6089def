"""What a ClusterStore on Redis promises beyond the port: one slot a scope, nothing half written, nothing left of who was erased."""

import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from redis import Redis, RedisCluster
from redis.crc import key_slot

from consumer.adapters import redis_layout
from consumer.adapters.redis_clusters import RedisClusters
from consumer.errors import SettingsError, StoreError
from consumer.redo import Repair
from tests.cluster_scenarios import PARTITION, SCOPE, Erase, Say, Step, Upsert, names, play
from tests.services import Server
from tests.stored import KEY, NASTY, OpenRedis, claimed, cluster, edge, event, position, record, update, verdict


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
