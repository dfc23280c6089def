"""What the brokers know of the offsets of a consumer's partitions, asked through its client."""

import time
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.adapters.kafka_errors import broker_error, explain, is_passing
from consumer.errors import BrokerAwayError

Partition = tuple[str, int]
_LEADER_WAIT_SECONDS: Final = 0.1


def committed(consumer: Consumer, partition: Partition, timeout_seconds: float) -> int | None:
    """Offset after the last that the group has committed, None for none.

    A transaction that is to commit one is waited for. Raises BrokerError; BrokerAwayError when that takes too long.
    """
    where = f"committed offset of {partition[0]}/{partition[1]}"
    try:
        (answer,) = consumer.committed([TopicPartition(*partition)], timeout=timeout_seconds)
    except KafkaException as error:
        raise broker_error(error.args[0], f"{where}: {explain(error.args[0], partition[0])}") from error
    if answer.error is not None:
        raise broker_error(answer.error, f"{where}: {explain(answer.error, partition[0])}")
    return int(answer.offset) if answer.offset >= 0 else None


def ends(consumer: Consumer, partition: Partition, timeout_seconds: float) -> tuple[int, int]:
    """First offset and the one after the last, asked of the leader now. Raises BrokerError."""
    where = f"ends of {partition[0]}/{partition[1]}"
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            marks = consumer.get_watermark_offsets(TopicPartition(*partition), timeout=timeout_seconds, cached=False)
            break
        except KafkaException as error:
            # A topic made a moment ago, or a leader that moves: what the client knows of it is refreshed meanwhile.
            if not is_passing(error.args[0]) or time.monotonic() > deadline:
                raise broker_error(error.args[0], f"{where}: {explain(error.args[0], partition[0])}") from error
            time.sleep(_LEADER_WAIT_SECONDS)
    if marks is None:
        raise BrokerAwayError(f"{where}: no answer in {timeout_seconds:g} s; check that Kafka is running")
    return marks
