"""A librdkafka message as this package's own."""

from confluent_kafka import Message as KafkaMessage

from consumer.errors import BrokerError
from consumer.records import Message, Position


def received_message(raw: KafkaMessage) -> Message:
    """Convert a message that carries no error.

    An unknown timestamp becomes 0, a header without a value an empty one; of headers with one name the last counts.
    """
    topic, partition, offset = raw.topic(), raw.partition(), raw.offset()
    if topic is None or partition is None or offset is None:
        raise BrokerError("a message came without a position; reinstall confluent-kafka")
    kind, timestamp_ms = raw.timestamp()
    headers = raw.headers() or ()
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Message(
        position=Position(topic, partition, offset),
        key=raw.key(),
        value=raw.value(),
        timestamp_ms=timestamp_ms if kind else 0,
        headers={name: _bytes(value) for name, value in pairs},
    )


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
