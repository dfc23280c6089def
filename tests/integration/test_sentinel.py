"""A store behind Sentinels goes on with the node that takes over."""

import time

import pytest

from consumer.adapters.redis_clusters import RedisClusters
from consumer.errors import SettingsError, StoreError
from tests.conftest import provided
from tests.factories import KEY
from tests.redis_servers import client_of, redis_pair

PATIENCE_SECONDS = 30.0


def store(url: str, *, cluster: bool = False) -> RedisClusters:
    return RedisClusters(url, profile="p", key=KEY, erased_ttl_seconds=60, cluster=cluster, timeout_seconds=2.0)


def test_a_failover_is_followed() -> None:
    for pair in provided(redis_pair):
        made = store(f"redis+sentinel://{pair.sentinel}/dedup/0")
        assert made.take_epoch(0) == 1
        deadline = time.monotonic() + PATIENCE_SECONDS
        with client_of(pair.replica()) as replica:
            while (
                not replica.dbsize()
            ):  # replication is asynchronous: what it has not heard of is lost with the primary
                assert time.monotonic() < deadline
                time.sleep(0.01)
        first = pair.primary()
        pair.nodes[first].kill()
        assert pair.await_successor(first)
        while True:
            try:
                assert made.take_epoch(0) == 2
                break
            except StoreError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert pair.primary() != first
        made.close()


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://host:26379",
        "redis+sentinel:///dedup",
        "redis+sentinel://host:x/dedup",
        "redis+sentinel://u:hunter2@host:26379/dedup/x",
    ],
)
def test_an_address_that_lacks_a_part_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="Redis URL") as caught:
        store(url)
    assert "hunter2" not in str(caught.value)


def test_a_redis_cluster_has_no_sentinels() -> None:
    with pytest.raises(SettingsError, match="no Sentinels"):
        store("redis+sentinel://host/dedup", cluster=True)


def test_the_error_names_the_primary_and_no_password() -> None:
    made = store("redis+sentinel://u:hunter2@127.0.0.1:1,127.0.0.1:2/dedup/0")
    with pytest.raises(StoreError, match=r"dedup of 127\.0\.0\.1:1,127\.0\.0\.1:2") as caught:
        made.take_epoch(0)
    assert "hunter2" not in str(caught.value)
