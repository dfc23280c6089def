"""Tail over Kafka: reads a topic's partitions from offsets it is given, beside the group that owns them.

It is no member of the group, which is asked for committed offsets only.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.adapters.kafka_errors import broker_error, explain, is_end, is_passing
from consumer.adapters.kafka_group import Properties, outsider
from consumer.adapters.kafka_messages import received_message
from consumer.records import Message

_TIMEOUT_SECONDS: Final = 10.0
_QUEUED_KIB: Final = 8192


class KafkaTail:
    """`properties` are librdkafka's; those that make a member of a group are left out. Connects at its first call.

    Raises BrokerError, also for properties that librdkafka refuses.
    """

    def __init__(self, properties: Properties, topic: str, group: str) -> None:
        self._properties = properties
        self._group = group
        self._topic = topic
        self._partitions: list[int] = []
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._paused: set[int] = set()
        self._made: Consumer | None = None

    def partitions(self) -> Sequence[int]:
        if not self._partitions:
            try:
                found = self._consumer.list_topics(self._topic, timeout=_TIMEOUT_SECONDS).topics[self._topic]
            except KafkaException as error:
                raise broker_error(error.args[0], explain(error.args[0], self._topic)) from error
            if found.error is not None:
                raise broker_error(found.error, explain(found.error, self._topic))
            self._partitions = sorted(found.partitions)
        return self._partitions

    def read(self, starts: Mapping[int, int], max_records: int, timeout_seconds: float) -> Sequence[Message]:
        messages: list[Message] = []
        try:
            self._place(starts)
            for raw in self._consumer.consume(max_records, timeout_seconds):
                number, trouble = raw.partition(), raw.error()
                if trouble is None:
                    message = received_message(raw)
                    if message.position.partition in starts:
                        self._next[message.position.partition] = message.position.offset + 1
                        messages.append(message)
                elif is_end(trouble):
                    if number is not None:
                        self._ends[number] = raw.offset() or 0
                elif not is_passing(trouble):
                    raise broker_error(trouble, explain(trouble, self._topic))
        except KafkaException as error:
            raise broker_error(error.args[0], explain(error.args[0], self._topic)) from error
        return messages

    def behind(self, partition: int) -> int:
        if partition not in self._next:
            return 1
        # the end that was met also passes what is never delivered: a transaction's marker, a gap of compaction
        reached = max(self._next[partition], self._ends.get(partition, 0))
        try:
            marks = self._consumer.get_watermark_offsets(self._at(partition), cached=True)
        except KafkaException:
            marks = None
        if marks is None or marks[1] < 0:
            return 0 if partition in self._ends else 1
        return max(0, marks[1] - reached)

    def committed(self) -> Mapping[int, int]:
        try:
            answers = self._consumer.committed([self._at(n) for n in self.partitions()], timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise broker_error(error.args[0], f"committed offsets: {explain(error.args[0], self._topic)}") from error
        return {answer.partition: answer.offset for answer in answers if answer.error is None and answer.offset >= 0}

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    @property
    def _consumer(self) -> Consumer:
        # Not before it is used: one that is left unclosed, because something else was refused, hangs the interpreter.
        if self._made is None:
            self._made = outsider(self._properties, self._group, _QUEUED_KIB)
        return self._made

    def _place(self, starts: Mapping[int, int]) -> None:
        """Make the client fetch these partitions from there, and no others."""
        idle = [n for n in self._next if n not in starts and n not in self._paused]
        moved = [n for n, offset in starts.items() if self._next.get(n) != offset]
        if idle:
            self._consumer.pause([self._at(n) for n in idle])
            self._paused.update(idle)
        if held := [n for n in moved if n in self._next]:
            self._consumer.incremental_unassign([self._at(n) for n in held])
        if moved:
            self._consumer.incremental_assign([TopicPartition(self._topic, n, starts[n]) for n in moved])
        if again := [n for n in starts if n in self._paused]:
            self._consumer.resume([self._at(n) for n in again])
            self._paused.difference_update(again)
        for n in moved:
            self._next[n] = starts[n]
            self._ends.pop(n, None)

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)
