"""What every Publisher must do, over each adapter: in memory, the embedded broker, a real Kafka."""

import os
import time

import pytest

from consumer.adapters import kafka_topics
from consumer.adapters.embedded import EMBEDDED_PARTITIONS
from consumer.errors import BrokerError
from consumer.records import Outgoing
from tests.broker_kits import Kit, properties_of_producer, take, values

TOO_LARGE = 20 * 1024 * 1024


def test_all_of_a_message_makes_the_round_trip(kit: Kit) -> None:
    headers = {"trace": b"\x00\x01", "empty": b""}
    publisher = kit.publisher()
    publisher.publish(
        [
            Outgoing(kit.topic, b"k\xff", b"\x00v", headers, partition=2, timestamp_ms=1_700_000_000_123),
            Outgoing(kit.topic, b"erased", None, partition=2),
            Outgoing(kit.topic, None, b"", partition=2),
        ]
    )
    publisher.flush()
    now_ms = time.time() * 1000
    full, erased, keyless = take(kit.source(), 3)
    assert (full.key, full.value, dict(full.headers)) == (b"k\xff", b"\x00v", headers)
    assert full.timestamp_ms == 1_700_000_000_123
    assert full.position.partition == 2
    assert (erased.key, erased.value, dict(erased.headers)) == (b"erased", None, {})
    assert abs(erased.timestamp_ms - now_ms) < 10_000
    assert (keyless.key, keyless.value) == (None, b"")


def test_a_message_too_large_is_an_error_without_its_payload(kit: Kit) -> None:
    publisher = kit.publisher()

    def publish() -> None:
        publisher.publish([Outgoing(kit.topic, b"k", b"x" * TOO_LARGE)])
        publisher.flush()

    with pytest.raises(BrokerError, match=kit.topic) as caught:
        publish()
    assert "xxxx" not in str(caught.value)
    publisher.publish([Outgoing(kit.topic, b"k", b"1")])
    publisher.flush()
    assert values(take(kit.source(), 1)) == [1]


def test_a_failed_delivery_is_raised_by_flush_once(kit: Kit) -> None:
    if kit.name != "kafka":
        pytest.skip("only a real broker has a limit below the client's")
    spec = kafka_topics.TopicSpec(f"{kit.topic}-small", 1, config={"max.message.bytes": "1000"})
    kafka_topics.create(properties_of_producer(kit.properties), [spec])
    publisher = kit.publisher()
    publisher.publish([Outgoing(spec.name, b"k", os.urandom(5000))])
    with pytest.raises(BrokerError, match=f"{spec.name}.*too large"):
        publisher.flush()
    publisher.flush()


def test_partitions_are_counted(kit: Kit) -> None:
    assert kit.publisher().partitions(kit.topic) == EMBEDDED_PARTITIONS


def test_a_missing_topic_is_named(kit: Kit) -> None:
    if kit.name == "embedded":
        pytest.skip("the embedded broker makes every topic that is named")
    kit.topic += "-missing"
    with pytest.raises(BrokerError, match=kit.topic):
        kit.publisher().partitions(kit.topic)

    def consume() -> None:
        take(kit.source(), 1)

    with pytest.raises(BrokerError, match=f"{kit.topic}.*create"):
        consume()


def test_a_message_is_there_soon_after_it_was_published(kit: Kit) -> None:
    source, publisher = kit.source(), kit.publisher()
    publisher.publish([Outgoing(kit.topic, b"k", b"0")])
    publisher.flush()
    take(source, 1)
    seconds = []
    for number in range(30):
        started = time.perf_counter()
        publisher.publish([Outgoing(kit.topic, b"k", b"%d" % number)])
        assert len(source.poll(512, 5.0)) == 1
        seconds.append(time.perf_counter() - started)
    # Half a second would mean that a fetch or a poll is waited out; shared cores are given the rest.
    assert sorted(seconds)[15] < 0.1
