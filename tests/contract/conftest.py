"""Stores, brokers and places of snapshots for the tests of this folder, each adapter in its turn."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from consumer.adapters import kafka_topics
from consumer.adapters.embedded import EMBEDDED_CLIENT, EMBEDDED_PARTITIONS, embedded_broker
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.memory import MemoryBroker
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.redis_clusters import RedisClusters
from consumer.ports import ClusterStore
from tests.broker_kits import Kit, properties_of_producer
from tests.snapshot_places import Clock, Place, Store
from tests.stored import KEY, OpenRedis, OpenStore


@pytest.fixture
def open_redis() -> Iterator[OpenRedis]:
    """Opens stores on a Redis and closes them in the end."""
    with ExitStack() as opened:

        def open_(url: str, prefix: str, *, cluster: bool = False, **options: Any) -> RedisClusters:
            chosen = {"profile": "pro/file", "key": KEY, "erased_ttl_seconds": 60, **options}
            return opened.enter_context(closing(RedisClusters(url, prefix=prefix, cluster=cluster, **chosen)))

        yield open_


@pytest.fixture(params=["memory", "redis", "redis_cluster"])
def open_store(request: pytest.FixtureRequest, open_redis: OpenRedis, unique: str) -> OpenStore:
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
def store(open_store: OpenStore) -> ClusterStore:
    return open_store()


@pytest.fixture(scope="module")
def embedded_servers() -> Iterator[str]:
    with embedded_broker() as servers:
        yield servers


@pytest.fixture(params=["memory", "embedded", "kafka", "kafka-classic"])
def kit(request: pytest.FixtureRequest, unique: str) -> Iterator[Kit]:
    name = request.param
    memory = MemoryBroker({unique: EMBEDDED_PARTITIONS}) if name == "memory" else None
    properties: dict[str, str | int | float | bool] = {"log_level": 0}
    if name == "embedded":
        properties |= {"bootstrap.servers": request.getfixturevalue("embedded_servers"), **EMBEDDED_CLIENT}
        KafkaPublisher(properties_of_producer(properties)).partitions(unique)
    elif name != "memory":
        properties["bootstrap.servers"] = request.getfixturevalue("kafka_servers")
        if name == "kafka":
            properties["group.protocol"] = "consumer"
        spec = kafka_topics.TopicSpec(unique, EMBEDDED_PARTITIONS, config={"max.message.bytes": "16777216"})
        assert kafka_topics.create(properties_of_producer(properties), [spec]) == [(unique, "created")]
    made = Kit(name, unique, properties, memory)
    with made.closing:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["disk", "object"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Place:
    return Place(request.param, tmp_path, clock)


@pytest.fixture
def snapshots(place: Place) -> Store:
    return place.store()
