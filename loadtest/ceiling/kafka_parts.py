"""Kafka by itself: the same messages in and out in the same batches, by a bare client, with nothing done in between."""

from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka import Message as KafkaMessage

from consumer.adapters.kafka_group import consumer_config
from consumer.adapters.kafka_publisher import DEFAULTS
from consumer.records import Outgoing
from loadtest.ceiling.clock import BATCH, Cost, Stopwatch
from loadtest.ceiling.site import Site

_PATIENCE_SECONDS = 60.0
_TRANSACTIONS = {"transaction.timeout.ms": 10_000, "retry.backoff.ms": 5, "retry.backoff.max.ms": 50}
"""As the service has them."""


def acknowledged(site: Site, name: str, topic: str, outgoing: Sequence[Outgoing], count: int, skip: int) -> Cost:
    """The cost of a message: take a batch, send one, wait for the broker, commit. As the encode stage delivers.

    `name` is that of a group which has read nothing yet.
    """
    producer = Producer({**DEFAULTS, **site.settings.kafka.producer_properties})
    consumer = _consumer(site, topic, name)

    def deliver(messages: Sequence[Outgoing]) -> None:
        for message in messages:
            producer.produce(message.topic, message.value, message.key)
        producer.flush()
        consumer.commit(asynchronous=False)

    return _timed(consumer, deliver, outgoing, count, skip)


def transactional(site: Site, name: str, topic: str, outgoing: Sequence[Outgoing], count: int, skip: int) -> Cost:
    """The cost of a message: take a batch, send what follows from it and its offsets in one transaction.

    `name` as above.
    """
    own = {**_TRANSACTIONS, "transactional.id": site.named(name)}
    producer = Producer({**DEFAULTS, **site.settings.kafka.producer_properties, "delivery.timeout.ms": 10_000, **own})
    producer.init_transactions(_PATIENCE_SECONDS)
    consumer = _consumer(site, topic, name)

    def deliver(messages: Sequence[Outgoing]) -> None:
        producer.begin_transaction()
        for message in messages:
            producer.produce(message.topic, message.value, message.key)
        offsets = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), _PATIENCE_SECONDS)
        producer.commit_transaction(_PATIENCE_SECONDS)

    return _timed(consumer, deliver, outgoing, count, skip)


def _consumer(site: Site, topic: str, name: str) -> Consumer:
    config: dict[str, Any] = consumer_config(site.settings.kafka.consumer_properties, site.named(name))
    consumer = Consumer({**config, "enable.partition.eof": False})
    consumer.subscribe([topic])
    return consumer


def _timed(
    consumer: Consumer,
    deliver: Callable[[Sequence[Outgoing]], None],
    outgoing: Sequence[Outgoing],
    count: int,
    skip: int,
) -> Cost:
    """The first `skip` messages are for joining the group and for first connections."""
    taken, counted_from, watch = 0, 0, Stopwatch()
    try:
        while taken < count:
            batch = _batch(consumer)
            before, taken = taken, min(count, taken + len(batch))
            share = outgoing[len(outgoing) * before // count : len(outgoing) * taken // count]
            deliver(share)
            if not counted_from and taken >= skip:
                watch, counted_from = Stopwatch(), taken
        return watch.cost(taken - counted_from)
    finally:
        consumer.close()


def _batch(consumer: Consumer) -> list[KafkaMessage]:
    """A first message is awaited alone, then what is there: consume() waits for as many as are asked for."""
    first = consumer.poll(_PATIENCE_SECONDS)
    found = [first, *consumer.consume(BATCH - 1, 0.002)] if first is not None else []
    messages = [message for message in found if message.error() is None]
    for message in messages:  # a client makes its bytes into objects when it is asked for them
        message.key(), message.value(), message.offset(), message.timestamp(), message.headers()
    if not messages:
        raise TimeoutError(f"no message came within {_PATIENCE_SECONDS:g} s")
    return messages
