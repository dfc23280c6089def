"""What a group has committed, seen and noted by a tool that is no member of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaException, TopicPartition

from consumer.adapters.kafka_errors import explain
from consumer.adapters.kafka_group import Properties, outsider
from consumer.errors import BrokerError

_TIMEOUT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Committed:
    """What a group has done of a partition: everything before `offset`; -1 where it never committed."""

    offset: int
    note: str = ""
    """Came with the commit; brokers keep 4,096 bytes of it unless told otherwise."""


class KafkaCommits:
    """The committed offsets of `group`. `properties` are librdkafka's. Raises BrokerError."""

    def __init__(self, properties: Properties, group: str) -> None:
        self._consumer = outsider(properties, group)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def of(self, topic: str) -> dict[int, Committed]:
        """What the group has done of every partition of a topic."""
        try:
            found = self._consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
            if found.error is not None:
                raise BrokerError(explain(found.error, topic))
            asked = [TopicPartition(topic, number) for number in sorted(found.partitions)]
            answers = self._consumer.committed(asked, timeout=_TIMEOUT_SECONDS)
        except KafkaException as error:
            raise BrokerError(explain(error.args[0], topic)) from error
        return {a.partition: Committed(max(-1, a.offset), a.metadata or "") for a in answers}

    def commit(self, topic: str, done: Mapping[int, Committed]) -> None:
        """Note what is done of some partitions. Refused while the group has members."""
        offsets = [TopicPartition(topic, number, c.offset, c.note) for number, c in done.items()]
        try:
            answers = self._consumer.commit(offsets=offsets, asynchronous=False) if offsets else ()
        except KafkaException as error:
            raise BrokerError(f"commit: {explain(error.args[0], topic)}") from error
        for answer in answers or ():
            if answer.error is not None:
                raise BrokerError(f"commit: {explain(answer.error, topic)}")
