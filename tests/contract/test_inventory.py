"""Redis read whole says what the store in memory says, and what is written whole reads the same."""

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from redis import Redis

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.redis_clusters import RedisClusters
from consumer.adapters.redis_inventory import RedisInventory
from consumer.errors import SettingsError
from consumer.recovery.contents import Contents
from consumer.recovery.refill import refill
from tests.cluster_scenarios import PARTITION, SCOPE, Step, disputed_lives, names, play
from tests.factories import KEY

FEW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture(params=["redis_url", "redis_cluster_url"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def prefix(url: str) -> Iterator[str]:
    yield (made := f"inventory-{secrets.token_hex(6)}")
    with Redis.from_url(url) as client:
        for key in client.scan_iter(f"{made}*", count=1000):
            client.delete(key)


def stores(url: str, prefix: str) -> tuple[RedisClusters, RedisInventory]:
    own, cluster = f"{prefix}-{secrets.token_hex(4)}", _is_cluster(url)
    return (
        RedisClusters(url, profile="person", key=KEY, erased_ttl_seconds=3600, prefix=own, cluster=cluster),
        RedisInventory(url, profile="person", key=KEY, prefix=own, cluster=cluster),
    )


def _is_cluster(url: str) -> bool:
    with Redis.from_url(url) as client:
        return bool(client.info("cluster")["cluster_enabled"])


def comparable(held: Contents) -> Contents:
    """Without what Redis does not tell, and without the sequence of edges that are none."""
    live = {r: near for r, near in held.edges.items() if near}
    return replace(held, erased={}, edges=live, redo=list(held.redo), outbox=list(held.outbox))


@FEW
@given(disputed_lives(names(6)))
def test_redis_reads_as_memory_does_and_a_refilled_one_as_it_was(url: str, prefix: str, steps: list[Step]) -> None:
    memory = MemoryClusters()
    redis, inventory = stores(url, prefix)
    copy, second = stores(url, prefix)
    try:
        play(memory, steps, quorum=0.5)
        play(redis, steps, quorum=0.5)
        held = comparable(inventory.contents(PARTITION)[SCOPE])
        assert held == comparable(memory.contents(PARTITION)[SCOPE])
        assert second.is_empty()
        assert not inventory.is_empty()
        if steps:
            epoch = copy.take_epoch(PARTITION)
            copy.claim(SCOPE, PARTITION, epoch)
            refill(copy, SCOPE, PARTITION, epoch, len(steps) - 1, held, held.outbox)
            assert comparable(second.contents(PARTITION)[SCOPE]) == held
            assert list(second.scopes(PARTITION)) == [SCOPE]
    finally:
        for each in (redis, inventory, copy, second):
            each.close()


def test_a_rebuild_is_marked_until_it_ends_and_wiping_keeps_epochs(url: str, prefix: str) -> None:
    redis, inventory = stores(url, prefix)
    try:
        epoch = redis.take_epoch(0)
        redis.claim("at", 0, epoch)
        inventory.require_whole()
        before = inventory.mark("at")
        inventory.begin(1)
        with pytest.raises(SettingsError, match="run it again: `dedup rebuild --replace`"):
            inventory.require_whole()
        inventory.wipe()
        assert inventory.is_empty()
        assert inventory.mark("at") != before
        inventory.finish("7")
        inventory.require_whole()
        assert inventory.generation() == "7"
        assert redis.take_epoch(0) == epoch + 1
        inventory.begin(2)
        inventory.finish(None)
        assert inventory.generation() == "7"
    finally:
        redis.close()
        inventory.close()


def test_the_keys_are_looked_through_no_more_often_for_many_scopes(url: str, prefix: str) -> None:
    redis, inventory = stores(url, prefix)
    try:
        epoch = redis.take_epoch(PARTITION)
        looks = []
        for scopes in (["de"], [f"tenant {n}" for n in range(30)]):
            for scope in scopes:
                redis.claim(scope, PARTITION, epoch)
            before = scans(url)
            found = inventory.contents(PARTITION)
            looks.append(scans(url) - before)
    finally:
        redis.close()
        inventory.close()
    assert set(found) == {"de", *scopes}
    assert looks[0] == looks[1]


def scans(url: str) -> int:
    """How often the server was asked to look through its keys."""
    with Redis.from_url(url) as client:
        return int(client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"])
