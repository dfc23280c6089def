"""Where things are on Kafka: consumer groups, topics of dead letters, the partition of a scope."""

import hashlib
from functools import lru_cache

from consumer.profile import Profile
from consumer.settings import Settings

_DEAD_LETTERS = ".dlq"


def encoders_group(settings: Settings, profile: Profile) -> str:
    """Consumer group of the encode stage. With another vectors topic it is another group, so it reads the input anew."""
    vectors = "" if profile.vectors is None else f".{profile.vectors}"
    return f"{settings.kafka.group}.{profile.name}{vectors}.encode"


def matchers_group(settings: Settings, profile: Profile) -> str:
    """Consumer group of the match stage, and the beginning of its transactional ids."""
    return f"{settings.kafka.group}.{profile.name}.match"


def replay_group(settings: Settings, profile: Profile) -> str:
    """Group under which `dedup dlq replay` notes what it has handled; it has no members."""
    return f"{settings.kafka.group}.{profile.name}.dlq"


def read_topics(settings: Settings, profile: Profile) -> list[str]:
    """The topics that the stages read, whose messages may be rejected."""
    return [profile.input, settings.topics.feedback, profile.vectors_topic]


def dead_letter_topic(topic: str) -> str:
    """The topic that the dead letters of a topic are written to."""
    return f"{topic}{_DEAD_LETTERS}"


@lru_cache(maxsize=4_096)
def scope_partition(scope: str, partitions: int) -> int:
    """The partition that holds a scope, of `vectors` and of each topic of outcomes; stable across processes and versions."""
    return int.from_bytes(hashlib.blake2b(scope.encode(), digest_size=8).digest()) % partitions
