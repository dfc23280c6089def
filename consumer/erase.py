"""`dedup erase`: put a null value for a record on its input topic, which is how anyone asks for erasure."""

from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.decode import decode_id
from consumer.errors import RejectedError, SettingsError
from consumer.profile import load_profile
from consumer.records import Outgoing
from consumer.settings import Settings
from consumer.wiring import require_brokers


def request_erasure(settings: Settings, record_id: str) -> str:
    """Produce the null value, wait until the broker has it, and return the topic. Raises DedupError."""
    require_brokers(settings)
    topic = load_profile(settings.profile).input
    key = record_id.encode()
    try:
        decode_id(key)
    except RejectedError as error:
        raise SettingsError(f"record id: {error}") from None
    publisher = KafkaPublisher(settings.kafka.producer_properties)
    try:
        publisher.partitions(topic)
        publisher.publish([Outgoing(topic, key, None)])
        publisher.flush()
    finally:
        publisher.close()
    return topic
