"""Reads topics from their beginning to an end, as a member of no group: for `dedup rebuild`, `verify` and `migrate`."""

import time
from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from consumer.adapters.kafka_errors import explain, is_end, is_passing
from consumer.adapters.kafka_group import Properties, outsider
from consumer.adapters.kafka_messages import received_message
from consumer.errors import BrokerError
from consumer.records import Message

_AT_ONCE: Final = 1000
_TIMEOUT_SECONDS: Final = 15.0
_STALLED_SECONDS: Final = 60.0


class KafkaReader:
    """Sees what a read_committed subscriber sees. `properties` are librdkafka's. Raises BrokerError."""

    def __init__(self, properties: Properties) -> None:
        self._consumer = outsider(properties, "dedup-reader")

    def ends(self, topic: str) -> Mapping[int, tuple[int, int]]:
        """Partition → first offset that is kept, and the offset after the last message."""
        try:
            found = self._consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
            if found.error is not None:
                raise BrokerError(explain(found.error, topic))
            marks = {}
            for number in sorted(found.partitions):
                where = TopicPartition(topic, number)
                low, high = self._consumer.get_watermark_offsets(where, timeout=_TIMEOUT_SECONDS, cached=False)
                marks[number] = low, high
        except KafkaException as error:
            raise BrokerError(explain(error.args[0], topic)) from error
        return marks

    def read(self, topic: str, until: Mapping[int, int], since: Mapping[int, int] | None = None) -> Iterator[Message]:
        """Messages of the partitions in `until` before its offsets, from their beginning or from `since`.

        The order is kept in each partition, and is none between them.
        """
        starts = {number: (since or {}).get(number, 0) for number in until}
        left = {number: end for number, end in until.items() if starts[number] < end}
        if not left:
            return
        try:
            self._consumer.assign([TopicPartition(topic, number, starts[number]) for number in left])
            yield from self._until(topic, left)
        except KafkaException as error:
            raise BrokerError(explain(error.args[0], topic)) from error
        finally:
            self._consumer.unassign()

    def close(self) -> None:
        self._consumer.close()

    def _until(self, topic: str, left: dict[int, int]) -> Iterator[Message]:
        heard = time.monotonic()
        while left:
            batch = self._consumer.consume(_AT_ONCE, 0.2)
            if batch:
                heard = time.monotonic()
            elif time.monotonic() - heard > _STALLED_SECONDS:
                raise BrokerError(
                    f"topic {topic}: nothing came for {_STALLED_SECONDS:g} s; check that Kafka is running"
                )
            for raw in batch:
                yield from _taken(raw, topic, left)


def _taken(raw: KafkaMessage, topic: str, left: dict[int, int]) -> Iterator[Message]:
    """The message, if it is wanted; what is read to its end is taken out of `left`."""
    number, offset, trouble = raw.partition(), raw.offset(), raw.error()
    if trouble is not None:
        if is_end(trouble) and number is not None:
            left.pop(number, None)  # behind the last message may be a transaction's marker, or a gap of compaction
        elif not is_passing(trouble):
            raise BrokerError(explain(trouble, topic))
    elif number in left and offset is not None:
        end = left[number]
        if offset + 1 >= end:
            del left[number]
        if offset < end:
            yield received_message(raw)


def highs(ends: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """Partition → the offset after the last message."""
    return {number: high for number, (_, high) in ends.items()}


def complete(ends: Mapping[int, tuple[int, int]]) -> bool:
    """Whether nothing was dropped from the front of any partition yet."""
    return all(low == 0 for low, _ in ends.values())
