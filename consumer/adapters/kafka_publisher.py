"""Publisher over Kafka: idempotent, acknowledged by all in-sync replicas, batched for a few milliseconds."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from consumer.adapters.kafka_causes import Causes
from consumer.adapters.kafka_errors import broker_error, client_error, explain
from consumer.errors import TransientError
from consumer.records import Outgoing

Properties = Mapping[str, str | int | float | bool]
OnDelivery = Callable[[KafkaError | None, KafkaMessage], None]

DEFAULTS: Final[Properties] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 3,
    # 16 MiB of value, and room for the key, the headers and the batch around it.
    "message.max.bytes": 16 * 1024 * 1024 + 64 * 1024,
    # The hash that Java clients use, so every producer of a topic puts a key into the same partition.
    "partitioner": "murmur2_random",
    "queue.buffering.max.kbytes": 131072,
    "delivery.timeout.ms": 120000,
}
_PURGED: Final = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
_TIMEOUT_SECONDS: Final = 10.0
_FULL_POLL_SECONDS: Final = 0.05
_FLUSH_POLL_SECONDS: Final = 0.5


class KafkaPublisher:
    """Queues and delivers messages. `properties` are librdkafka's and win over the defaults.

    Order is kept per partition. A delivery that failed is remembered and raised by the next `publish` or `flush`;
    after that the caller must repeat everything since its last successful flush.
    Raises BrokerError when the properties are refused.
    """

    def __init__(self, properties: Properties) -> None:
        self._failures = Failures()
        self._partitions: dict[str, int] = {}
        self._causes = Causes()
        told = {"error_cb": self._causes, "logger": logging.getLogger("librdkafka")}
        try:
            self._producer = Producer({**DEFAULTS, **properties, **told})
        except (KafkaException, ValueError, TypeError) as error:
            raise client_error("producer", error) from error

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Queue messages, waiting while the queue is full.

        Raises BrokerError when an earlier message failed or one of these can never be delivered.
        """
        self._failures.raise_any()
        for message in messages:
            produce(self._producer, message, self._failures.note)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until every message is acknowledged or failed, `delivery.timeout.ms` at most. Raises BrokerError."""
        # In slices, so that a signal is handled meanwhile; librdkafka itself ends the wait by failing what is late.
        try:
            while self._producer.flush(_FLUSH_POLL_SECONDS):
                pass
        except KafkaException as error:  # the client is beyond repair, as one whose user is refused
            self._failures.raise_any()
            raise broker_error(error.args[0], explain(error.args[0])) from error
        self._failures.raise_any()

    def partitions(self, topic: str) -> int:
        """Number of partitions of `topic`, asked once. Raises BrokerError when it does not exist."""
        if topic not in self._partitions:
            try:
                found = self._producer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
            except KafkaException as error:
                self._producer.poll(0)
                cause = self._causes.of(error.args[0])
                raise broker_error(cause, explain(cause, topic)) from error
            if found.error is not None:
                raise broker_error(found.error, explain(found.error, topic))
            self._partitions[topic] = len(found.partitions)
        return self._partitions[topic]

    def close(self) -> None:
        """Deliver what is queued, then stop. Raises BrokerError like `flush`."""
        self.flush()


def send(properties: Properties, messages: Sequence[Outgoing]) -> None:
    """Produce messages and return once the brokers have them. Raises BrokerError, also where a topic does not exist.

    When it raises, a part of them may be there.
    """
    publisher = KafkaPublisher(properties)
    try:
        for topic in dict.fromkeys(message.topic for message in messages):
            publisher.partitions(topic)
        publisher.publish(messages)
    finally:
        publisher.close()


class Failures:
    """What became of messages that were queued, told by the client's callback."""

    def __init__(self) -> None:
        self._count = 0
        self._reasons: dict[str, KafkaError] = {}

    def note(self, error: KafkaError | None, message: KafkaMessage) -> None:
        """The callback for a delivery. What is purged failed for a reason that is told elsewhere."""
        if error is not None and error.code() not in _PURGED:
            self._count += 1
            self._reasons.setdefault(explain(error, message.topic()), error)

    def forget(self) -> None:
        self._count, self._reasons = 0, {}

    def raise_any(self) -> None:
        """Raise BrokerError for what failed since this was asked last; one that waiting does not mend decides its kind."""
        count, reasons = self._count, self._reasons
        if not count:
            return
        self.forget()
        errors = [broker_error(error, reason) for reason, error in reasons.items()]
        worst = next((e for e in errors if not isinstance(e, TransientError)), errors[0])
        raise type(worst)(f"{count} message(s) not delivered: {'; '.join(reasons)}")


def produce(producer: Producer, message: Outgoing, on_delivery: OnDelivery | None = None) -> None:
    """Queue one message, waiting while the queue is full. Raises BrokerError when it can never be delivered."""
    # librdkafka's own defaults: -1 lets the partitioner choose, 0 means now.
    partition = -1 if message.partition is None else message.partition
    # Brokers refuse what is far ahead of their clock, from version 4 on an hour, though it came from one of their topics.
    timestamp_ms = min(message.timestamp_ms or 0, time.time_ns() // 1_000_000)
    headers: list[tuple[str, str | bytes | None]] | None = [*message.headers.items()] or None
    while True:
        try:
            producer.produce(
                message.topic,
                value=message.value,
                key=message.key,
                partition=partition,
                timestamp=timestamp_ms,
                headers=headers,
                on_delivery=on_delivery,
            )
        except BufferError:
            producer.poll(_FULL_POLL_SECONDS)
        except KafkaException as error:
            refused = error.args[0]
            raise broker_error(refused, f"not published: {explain(refused, message.topic)}") from error
        else:
            return
