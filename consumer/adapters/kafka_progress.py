"""What a member of a group has done, told to the group without waiting for the answer."""

from collections.abc import Iterable, Sequence

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.adapters.kafka_errors import broker_error, explain, is_rebalance
from consumer.adapters.kafka_held import Held, Partition
from consumer.adapters.kafka_troubles import Troubles
from consumer.errors import TransientError
from consumer.records import Position

_log = structlog.get_logger(__name__)


class Progress:
    """Commits, and an `on_commit`, which librdkafka calls while it is polled.

    A partition is let go, and the group left, only once what was committed before is answered: librdkafka waits for that.
    """

    def __init__(self, held: Held, troubles: Troubles) -> None:
        self._held = held
        self._troubles = troubles
        self._reached: dict[Partition, int] = {}
        self._missed: set[Partition] = set()
        """What the group was told of these it did not take, and may take later."""

    def commit(self, consumer: Consumer, positions: Iterable[Position]) -> None:
        """Tell that everything up to and including each position is done; of partitions that are held, that is.

        Raises BrokerError where the client takes no commit.
        """
        done: dict[Partition, int] = {}
        for position in positions:
            partition = (position.topic, position.partition)
            if partition in self._held.all:
                done[partition] = max(done.get(partition, 0), position.offset + 1)
        self._reached.update(done)
        self._tell(consumer, done)

    def repeat(self, consumer: Consumer) -> None:
        """Tell once more what was not taken. Raises BrokerError where the client takes no commit."""
        self._tell(consumer, self._missed & self._held.all)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """These go: what is done of them is told by others from here on."""
        for partition in partitions:
            self._reached.pop(partition, None)
            self._missed.discard(partition)

    def _tell(self, consumer: Consumer, partitions: Iterable[Partition]) -> None:
        told = [TopicPartition(*partition, self._reached[partition]) for partition in partitions]
        if not told:
            return
        try:
            consumer.commit(offsets=told, asynchronous=True)
        except KafkaException as error:
            raise broker_error(error.args[0], f"commit: {explain(error.args[0])}") from error
        self._missed.difference_update(partitions)

    def __call__(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        for answer in partitions:
            trouble = answer.error or error
            if trouble is not None:
                self._judge(trouble, (answer.topic, answer.partition))

    def _judge(self, trouble: KafkaError, partition: Partition) -> None:
        topic, number = partition
        if is_rebalance(trouble):
            # the records come again, to whoever owns the partition then
            _log.warning("commit_lost_to_rebalance", topic=topic, partition=number, error=explain(trouble))
            return
        failure = broker_error(trouble, f"commit of {topic}/{number}: {explain(trouble)}")
        if not isinstance(failure, TransientError):
            self._troubles.fail(failure)
        elif partition in self._reached:
            self._troubles.warn(str(failure))
            self._missed.add(partition)
