"""What an operator's command asks of a consumer group, and tells it, from outside."""

import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import structlog
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from consumer.adapters.kafka_errors import client_error, explain, is_passing
from consumer.errors import BrokerError

Properties = Mapping[str, str | int | float | bool]
_T = TypeVar("_T")
_TIMEOUT_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.3
_TRANSACTION_SECONDS: Final = 120.0
"""Longer than brokers let a transaction of a dead producer stay open, by the defaults."""
_IDLE: Final = {ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD}
_MOVING: Final = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
}
_log = structlog.get_logger(__name__)


def is_active(properties: Properties, group: str) -> bool:
    """Whether a group has members, of whichever protocol. Raises BrokerError."""

    def ask(admin: AdminClient) -> bool:
        # not listed: a client that is new lists none
        found = admin.describe_consumer_groups([group], request_timeout=_TIMEOUT_SECONDS)[group].result()
        return bool(found.members) or found.state not in _IDLE

    try:
        return _patiently(properties, group, ask)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return False
        raise BrokerError(f"group {group}: {explain(error.args[0])}") from error


def committed(properties: Properties, group: str, topic: str) -> Mapping[int, int]:
    """Partition → the offset a group has committed, where it has committed one. Raises BrokerError."""

    def ask(admin: AdminClient) -> Mapping[int, int]:
        asked = [ConsumerGroupTopicPartitions(group)]
        answers = admin.list_consumer_group_offsets(asked, require_stable=True, request_timeout=_TIMEOUT_SECONDS)
        found = answers[group].result().topic_partitions
        return {p.partition: p.offset for p in found or () if p.topic == topic and p.offset >= 0}

    try:
        return _patiently(properties, group, ask)
    except KafkaException as error:
        raise BrokerError(f"offsets of group {group}: {explain(error.args[0])}") from error


def commit(properties: Properties, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Set the committed offsets of a group that has no members. Raises BrokerError."""
    wanted = [TopicPartition(topic, number, offset) for number, offset in sorted(offsets.items())]
    if not wanted:
        return

    def tell(admin: AdminClient) -> None:
        told = [ConsumerGroupTopicPartitions(group, wanted)]
        answers = admin.alter_consumer_group_offsets(told, request_timeout=_TIMEOUT_SECONDS)
        for answer in answers[group].result().topic_partitions or ():
            if answer.error is not None:
                raise KafkaException(answer.error)

    try:
        _patiently(properties, group, tell)
    except KafkaException as error:
        raise BrokerError(f"offsets of group {group}: {explain(error.args[0])}") from error


def _patiently(properties: Properties, group: str, call: Callable[[AdminClient], _T]) -> _T:
    """Repeat a call while the group's coordinator moves, or comes up, or a transaction is open."""
    admin = _admin(properties)
    started = time.monotonic()
    deadline = started + _TIMEOUT_SECONDS
    while True:
        try:
            return call(admin)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.UNSTABLE_OFFSET_COMMIT:
                deadline = started + _TRANSACTION_SECONDS
            if not (is_passing(error.args[0]) or code in _MOVING) or time.monotonic() > deadline:
                raise
            _log.warning("group_asked_again", group=group, error=explain(error.args[0]))
        time.sleep(_PAUSE_SECONDS)


def _admin(properties: Properties) -> AdminClient:
    try:
        return AdminClient({"log_level": 0, **properties})
    except (KafkaException, ValueError, TypeError) as error:
        raise client_error("admin client", error) from error
