"""Publisher over Kafka: idempotent, acknowledged by all in-sync replicas, batched for a few milliseconds."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from consumer.adapters.kafka_errors import client_error, explain
from consumer.errors import BrokerError
from consumer.records import Outgoing

_DEFAULTS: Final[Mapping[str, str | int | float | bool]] = {
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
_FULL_POLL_SECONDS: Final = 0.05
_FLUSH_POLL_SECONDS: Final = 0.5


class KafkaPublisher:
    """Queues and delivers messages. `properties` are librdkafka's and win over the defaults.

    Order is kept per partition. A delivery that failed is remembered and raised by the next `publish` or `flush`;
    after that the caller must repeat everything since its last successful flush.
    Raises BrokerError when the properties are refused.
    """

    def __init__(self, properties: Mapping[str, str | int | float | bool], timeout_seconds: float = 10.0) -> None:
        self._timeout_seconds = timeout_seconds
        self._failed: list[str] = []
        self._failures = 0
        self._partitions: dict[str, int] = {}
        try:
            self._producer = Producer({**_DEFAULTS, **properties, "logger": logging.getLogger("librdkafka")})
        except (KafkaException, ValueError, TypeError) as error:
            raise client_error("producer", error) from error

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Queue messages, waiting while the queue is full.

        Raises BrokerError when an earlier message failed or one of these can never be delivered.
        """
        self._raise_failures()
        for message in messages:
            self._produce(message)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until every message is acknowledged or failed, `delivery.timeout.ms` at most. Raises BrokerError."""
        # In slices, so that a signal is handled meanwhile; librdkafka itself ends the wait by failing what is late.
        while self._producer.flush(_FLUSH_POLL_SECONDS):
            pass
        self._raise_failures()

    def partitions(self, topic: str) -> int:
        """Number of partitions of `topic`, asked once. Raises BrokerError when it does not exist."""
        if topic not in self._partitions:
            try:
                found = self._producer.list_topics(topic, timeout=self._timeout_seconds).topics[topic]
            except KafkaException as error:
                raise BrokerError(explain(error.args[0], topic)) from error
            if found.error is not None:
                raise BrokerError(explain(found.error, topic))
            self._partitions[topic] = len(found.partitions)
        return self._partitions[topic]

    def close(self) -> None:
        """Deliver what is queued, then stop. Raises BrokerError like `flush`."""
        self.flush()

    def _produce(self, message: Outgoing) -> None:
        # librdkafka's own defaults: -1 lets the partitioner choose, 0 means now.
        partition = -1 if message.partition is None else message.partition
        timestamp_ms = message.timestamp_ms or 0
        headers: list[tuple[str, str | bytes | None]] = [*message.headers.items()]
        while True:
            try:
                self._producer.produce(
                    message.topic,
                    value=message.value,
                    key=message.key,
                    partition=partition,
                    timestamp=timestamp_ms,
                    headers=headers,
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(_FULL_POLL_SECONDS)
            except KafkaException as error:
                raise BrokerError(f"not published: {explain(error.args[0], message.topic)}") from error
            else:
                return

    def _delivered(self, error: KafkaError | None, message: KafkaMessage) -> None:
        if error is not None:
            self._failures += 1
            reason = explain(error, message.topic())
            if reason not in self._failed:
                self._failed.append(reason)

    def _raise_failures(self) -> None:
        if self._failures:
            count, reasons = self._failures, "; ".join(self._failed)
            self._failures, self._failed = 0, []
            raise BrokerError(f"{count} message(s) not delivered: {reasons}")
