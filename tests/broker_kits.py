"""Brokers for contract tests: a topic on one of them, clients of it, and what is read from it."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from consumer.adapters import kafka_topics
from consumer.adapters.embedded import EMBEDDED_PARTITIONS
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_source import KafkaSource
from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.records import Message, Outgoing

Partition = tuple[str, int]
Source = KafkaSource | MemorySource
Publisher = KafkaPublisher | MemoryPublisher

PATIENCE_SECONDS = 30.0


@dataclass
class Kit:
    """A topic of four partitions on one of the brokers, and clients of it that are closed after the test."""

    name: str
    topic: str
    properties: Mapping[str, str | int | float | bool]
    memory: MemoryBroker | None
    closing: ExitStack = field(default_factory=ExitStack)

    def source(
        self,
        on_assigned: Callable[[Sequence[Partition]], Mapping[Partition, int]] | None = None,
        on_revoked: Callable[[Sequence[Partition], bool], None] | None = None,
        more_topics: Sequence[str] = (),
    ) -> Source:
        source: Source
        topics = [self.topic, *more_topics]
        if self.memory is not None:
            source = MemorySource(self.memory, "group", topics, on_assigned, on_revoked)
        else:
            source = KafkaSource(self.properties, f"{self.topic}-group", topics, on_assigned, on_revoked)
        self.closing.callback(source.close)
        return source

    def publisher(self) -> Publisher:
        if self.memory is not None:
            return MemoryPublisher(self.memory)
        servers = self.properties["bootstrap.servers"]
        publisher = KafkaPublisher({"bootstrap.servers": servers, "log_level": 0})
        self.closing.callback(publisher.close)
        return publisher

    def send(self, count: int, partition: int | None = None) -> None:
        publisher = self.publisher()
        publisher.publish(
            [Outgoing(self.topic, b"k%d" % (i % 7), b"%d" % i, partition=partition) for i in range(count)]
        )
        publisher.flush()

    def another_topic(self) -> str:
        """A second topic, of as many partitions."""
        name = f"{self.topic}-2"
        if self.memory is not None:
            self.memory.create(name, EMBEDDED_PARTITIONS)
        elif self.name == "embedded":
            KafkaPublisher(properties_of_producer(self.properties)).partitions(name)
        else:
            spec = kafka_topics.TopicSpec(name, EMBEDDED_PARTITIONS)
            assert kafka_topics.create(properties_of_producer(self.properties), [spec]) == [(name, "created")]
        return name


def properties_of_producer(properties: Mapping[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    return {key: value for key, value in properties.items() if key in {"bootstrap.servers", "log_level"}}


def take(source: Source, count: int, batch: int = 500) -> list[Message]:
    """Poll until `count` messages came, then once more, for what should not be there."""
    taken: list[Message] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(taken) < count and time.monotonic() < deadline:
        taken += source.poll(batch, 0.2)
    return [*taken, *source.poll(batch, 0.2)]


def values(messages: Sequence[Message]) -> list[int]:
    return sorted(int(m.value or b"-1") for m in messages)
