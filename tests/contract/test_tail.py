"""Tail: what reads a topic beside the group that owns it. Over Kafka, and in memory."""

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer.adapters import kafka_topics
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_tail import KafkaTail
from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_tail import MemoryTail
from consumer.errors import BrokerError
from consumer.ports import Tail
from consumer.records import Message, Outgoing, Position


class Place:
    """A topic of two partitions, and a group whose offsets are set from outside."""

    def __init__(self, tail: Tail, send: Callable[[int, int], None], commit: Callable[[int, int], None]) -> None:
        self.tail = tail
        self.send = send
        self.commit = commit

    def read(self, starts: dict[int, int], count: int) -> list[Message]:
        """Messages, from there on, until there are `count`."""
        found: list[Message] = []
        deadline = time.monotonic() + 30
        at = dict(starts)
        while len(found) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count}"
            for message in self.tail.read(at, 3, 0.2):
                assert message.position.offset == at[message.position.partition], "in order, and none left out"
                at[message.position.partition] += 1
                found.append(message)
        return found

    def await_behind(self, partition: int, wanted: int) -> None:
        deadline = time.monotonic() + 30
        while (behind := self.tail.behind(partition)) != wanted:
            assert time.monotonic() < deadline, behind
            self.tail.read({0: self.ends[0], 1: self.ends[1]}, 3, 0.2)

    ends: dict[int, int]


def in_memory() -> Iterator[Place]:
    broker = MemoryBroker({"rows": 2})
    source = MemorySource(broker, "match", ["rows"])
    source.poll(0, 0)

    def send(partition: int, count: int) -> None:
        MemoryPublisher(broker).publish([Outgoing("rows", b"k", b"%d" % n, {}, partition) for n in range(count)])

    def commit(partition: int, offset: int) -> None:
        source.commit([Position("rows", partition, offset - 1)])

    yield Place(MemoryTail(broker, "rows", "match"), send, commit)


def over_kafka(servers: str, topic: str) -> Iterator[Place]:
    properties = {"bootstrap.servers": servers}
    kafka_topics.create(properties, [kafka_topics.TopicSpec(topic, 2, 1)])
    publisher = KafkaPublisher(properties)
    tail = KafkaTail({**properties, "group.instance.id": "of-the-matcher", "group.protocol": "consumer"}, topic, topic)

    def send(partition: int, count: int) -> None:
        publisher.publish([Outgoing(topic, b"k", b"%d" % n, {}, partition) for n in range(count)])
        publisher.flush()

    def commit(partition: int, offset: int) -> None:
        member = Consumer({**properties, "group.id": topic})
        member.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
        member.close()

    yield Place(tail, send, commit)
    tail.close()
    publisher.close()


@pytest.fixture(params=["memory", "kafka"])
def place(request: pytest.FixtureRequest, unique: str) -> Iterator[Place]:
    if request.param == "memory":
        yield from in_memory()
    else:
        yield from over_kafka(request.getfixturevalue("kafka_servers"), unique)


def test_it_reads_from_where_it_is_told_and_only_what_it_is_told(place: Place) -> None:
    place.send(0, 5)
    place.send(1, 4)
    assert list(place.tail.partitions()) == [0, 1]
    both = place.read({0: 0, 1: 2}, 7)
    assert sorted((m.position.partition, m.value) for m in both) == [
        *((0, b"%d" % n) for n in range(5)),
        *((1, b"%d" % n) for n in (2, 3)),
    ]
    place.send(0, 1)
    place.send(1, 1)
    assert [m.position.partition for m in place.read({1: 4}, 1)] == [1], "the other one is left alone"
    assert [m.position.offset for m in place.read({0: 5}, 1)] == [5], "and goes on where it was"
    assert [m.position.offset for m in place.read({0: 1}, 5)] == [1, 2, 3, 4, 5], "or elsewhere"


def test_it_tells_how_much_is_left(place: Place) -> None:
    place.send(0, 5)
    assert place.tail.behind(0) > 0
    place.read({0: 0, 1: 0}, 5)
    place.ends = {0: 5, 1: 0}
    place.await_behind(0, 0)
    place.await_behind(1, 0)


def test_it_tells_what_the_group_has_done(place: Place) -> None:
    place.send(0, 5)
    assert place.tail.committed() == {}
    place.commit(0, 3)
    assert place.tail.committed() == {0: 3}


def test_a_topic_that_is_not_there_is_an_error(kafka_servers: str, unique: str) -> None:
    tail = KafkaTail({"bootstrap.servers": kafka_servers}, unique, unique)
    with pytest.raises(BrokerError, match="does not exist"):
        tail.partitions()
    tail.close()
    with pytest.raises(BrokerError, match="does not exist"):
        MemoryTail(MemoryBroker(), "absent", "match").partitions()
