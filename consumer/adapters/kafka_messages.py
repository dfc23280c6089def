"""A librdkafka message as this package's own."""

from confluent_kafka import Message as KafkaMessage

from consumer.errors import BrokerError
from consumer.records import Message, Position


def received_message(raw: KafkaMessage) -> Message:
    """Convert a message that carries no error.

    An unknown timestamp becomes 0.
    """
    topic, partition, offset = raw.topic(), raw.partition(), raw.offset()
    if topic is None or partition is None or offset is None:
        raise BrokerError("a message came without a position; reinstall confluent-kafka")
    kind, timestamp_ms = raw.timestamp()
    return Message(
        position=Position(topic, partition, offset),
        key=raw.key(),
        value=raw.value(),
        timestamp_ms=timestamp_ms if kind else 0,
        headers=_headers(raw),
    )


def _headers(raw: KafkaMessage) -> dict[str, bytes]:
    """One without a value becomes an empty one; of those with one name the last counts.

    Kafka takes any bytes for a name. Where one is no UTF-8, confluent-kafka can tell of none, and that is an error inside it.
    """
    try:
        headers = raw.headers() or ()
    except (SystemError, UnicodeDecodeError):
        return {}
    pairs = headers.items() if isinstance(headers, dict) else headers
    return {name: _bytes(value) for name, value in pairs}


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
