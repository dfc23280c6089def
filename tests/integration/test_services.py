"""The services themselves: what every other integration test takes for granted."""

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from redis import Redis, RedisCluster

from tests.services import Server


def _topic(servers: str, name: str) -> str:
    admin = AdminClient({"bootstrap.servers": servers})
    for created in admin.create_topics([NewTopic(name, 1, 1, config={"max.message.bytes": "16777216"})]).values():
        created.result(timeout=30)
    return name


def _produce(servers: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "message.max.bytes": 16_777_216})
    failures: list[object] = []
    producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(30) == 0
    assert failures == []


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("size", [5, 10_000_000], ids=["small", "10 MB"])
def test_kafka_returns_what_was_produced(kafka_servers: str, unique: str, protocol: str, size: int) -> None:
    topic = _topic(kafka_servers, unique)
    value = b"x" * size
    _produce(kafka_servers, topic, value)

    consumer = Consumer(
        {
            "bootstrap.servers": kafka_servers,
            "group.id": unique,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe([topic])
        message = consumer.poll(30)
    finally:
        consumer.close()

    assert message is not None
    assert message.error() is None
    assert message.value() == value


def test_redis_returns_what_was_set(redis_url: str, unique: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set(unique, "value", ex=60)
        assert client.get(unique) == b"value"


def test_redis_cluster_returns_what_was_set_in_any_slot(redis_cluster_url: str, unique: str) -> None:
    with RedisCluster.from_url(redis_cluster_url) as client:
        for n in range(20):
            client.set(f"{unique}:{n}", n, ex=60)
        assert [client.get(f"{unique}:{n}") for n in range(20)] == [str(n).encode() for n in range(20)]
        client.disconnect_connection_pools()  # leaving the block keeps the nodes' sockets open


def test_a_killed_redis_keeps_what_it_acknowledged(redis_server: Server, unique: str) -> None:
    with Redis.from_url(redis_server.address) as client:
        for n in range(1_000):
            client.set(f"{unique}:{n}", n)

    redis_server.kill()
    redis_server.start()

    with Redis.from_url(redis_server.address) as client:
        assert client.get(f"{unique}:999") == b"999"
        assert client.dbsize() == 1_000
