"""librdkafka's errors in words that say what to do, and which of them pass on their own."""

from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from consumer.errors import BrokerAwayError, BrokerError

_ADVICE: Final[Mapping[int, str]] = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: "the topic does not exist; create it with `dedup topics create`",
    KafkaError._UNKNOWN_TOPIC: "the topic does not exist; create it with `dedup topics create`",
    KafkaError._UNKNOWN_PARTITION: "the topic has fewer partitions than that; see `dedup topics create`",
    KafkaError.MSG_SIZE_TOO_LARGE: "the message is too large; raise the topic's max.message.bytes and message.max.bytes",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "access to the topic is refused; grant it to this client",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "access to the consumer group is refused; grant READ on it to this client",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "access to the cluster is refused; grant it to this client",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the transactional id is refused; grant WRITE on it to this client",
    KafkaError._AUTHENTICATION: "authentication failed; check the sasl.* properties",
    KafkaError.SASL_AUTHENTICATION_FAILED: "authentication failed; check the sasl.* properties",
    KafkaError._SSL: "TLS failed; check the ssl.* properties and security.protocol",
    KafkaError._ALL_BROKERS_DOWN: "no broker answers; check bootstrap.servers and that Kafka is running",
    KafkaError._TRANSPORT: "no connection; check bootstrap.servers and that Kafka is running, and security.protocol",
    KafkaError._RESOLVE: "the broker's name is unknown; check bootstrap.servers",
    KafkaError._TIMED_OUT: "no answer in time; check bootstrap.servers and that Kafka is running",
    KafkaError._MSG_TIMED_OUT: "not delivered in time; check that Kafka is running and delivery.timeout.ms",
    KafkaError._AUTO_OFFSET_RESET: "the offset to start from is gone; records may be lost, set auto.offset.reset to go on",
    KafkaError._MAX_POLL_EXCEEDED: "a batch took longer than max.poll.interval.ms; make batches smaller or raise it",
    KafkaError.FENCED_INSTANCE_ID: "another process runs under this group.instance.id; give each its own",
    KafkaError.INVALID_REPLICATION_FACTOR: "there are fewer brokers than replicas; lower the replication",
    KafkaError.INVALID_TIMESTAMP: "the broker takes no message of that time; see message.timestamp.before.max.ms, and its clock",
    KafkaError.POLICY_VIOLATION: "the cluster's policy refuses it; ask who runs the cluster",
}
_HOPELESS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._INVALID_ARG,
        KafkaError._UNSUPPORTED_FEATURE,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
    }
)
_PASSING: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._MAX_POLL_EXCEEDED,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
    }
)

# Of a message rather than of the connection.
_REFUSED: Final = frozenset(
    {
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.POLICY_VIOLATION,
        KafkaError.RECORD_LIST_TOO_LARGE,
    }
)
# Fatal to a transactional client, and mended by another one.
_ENDS_TRANSACTION: Final = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.INVALID_TXN_STATE,
        KafkaError.PRODUCER_FENCED,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)

_MISSING: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
_REBALANCED: Final = frozenset(
    {
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError._ASSIGNMENT_LOST,
    }
)


def explain(error: KafkaError, topic: str | None = None) -> str:
    """One line: what happened, what to do where that is known, and Kafka's name of the error."""
    advice = _ADVICE.get(error.code())
    about = "" if topic is None else f"topic {topic}: "
    return f"{about}{advice or error.str()} ({error.name()})"


def is_passing(error: KafkaError) -> bool:
    """True when the client repairs it by itself, given time."""
    return not error.fatal() and (error.code() in _PASSING or error.retriable()) and error.code() not in _MISSING


def is_hopeless(error: KafkaError) -> bool:
    """True when no retry helps until a person changes something."""
    return error.fatal() or error.code() in _HOPELESS


def broker_error(error: KafkaError, message: str) -> BrokerError:
    """The error to raise for a call that failed: to be waited out unless a person has to change something."""
    if error.code() not in _ENDS_TRANSACTION and (is_hopeless(error) or error.code() in _REFUSED | _MISSING):
        return BrokerError(message)
    return BrokerAwayError(message)


def is_end(error: KafkaError) -> bool:
    """True for the event that a partition was read to its end."""
    return error.code() == KafkaError._PARTITION_EOF


def is_rebalance(error: KafkaError) -> bool:
    """True when a commit was refused because the group has moved on."""
    return not error.fatal() and error.code() in _REBALANCED


def client_error(what: str, error: Exception) -> BrokerError:
    """For properties that librdkafka refused when a client was made."""
    first = error.args[0] if isinstance(error, KafkaException) and error.args else error
    reason = first.str() if isinstance(first, KafkaError) else str(first)
    return BrokerError(f"Kafka {what} cannot be made: {reason}; check the kafka properties")
