"""What each role may do on Kafka and Redis, and nothing more: the one list that `dedup acls` prints and the tests obey.

A role is a process, or a command of a person. READ and WRITE hold DESCRIBE in Kafka. An idempotent producer needs no
right of its own since Kafka 3.0, beside that to write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from consumer.names import dead_letter_topic, encoders_group, matchers_group, read_topics, replay_group
from consumer.profile import Profile
from consumer.settings import Settings

Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs"]


@dataclass(frozen=True, slots=True)
class Grant:
    """One right on Kafka."""

    resource: Literal["topic", "group", "transactional-id"]
    name: str
    operation: Operation
    prefixed: bool = False
    """Of everything whose name begins so."""


def commands(grants: Sequence[Grant], principal: str) -> list[list[str]]:
    """The fewest calls of `kafka-acls` that give these rights, each as arguments."""
    of_name: dict[tuple[str, bool, str], list[str]] = {}
    for grant in grants:
        of_name.setdefault((grant.resource, grant.prefixed, grant.name), []).append(grant.operation)
    calls: dict[tuple[str, bool, tuple[str, ...]], list[str]] = {}
    for (resource, prefixed, name), several in of_name.items():
        calls.setdefault((resource, prefixed, tuple(several)), []).append(name)
    made = []
    for (resource, prefixed, operations), names in calls.items():
        call = ["--add", "--allow-principal", principal]
        call += [part for operation in operations for part in ("--operation", operation)]
        call += [part for name in names for part in (f"--{resource}", name)]
        made.append([*call, "--resource-pattern-type", "prefixed"] if prefixed else call)
    return made


def kafka_grants(settings: Settings, profile: Profile) -> Mapping[str, Sequence[Grant]]:
    """Per role. The roles `encode` and `match` expect `topics.create: false`: making topics is the role `topics`."""
    topics = settings.topics
    encoders, matchers = encoders_group(settings, profile), matchers_group(settings, profile)
    stages = {
        "encode": [
            Grant("topic", profile.input, "Read"),
            Grant("topic", topics.feedback, "Read"),
            Grant("topic", profile.vectors_topic, "Write"),
            Grant("topic", dead_letter_topic(profile.input), "Write"),
            Grant("topic", dead_letter_topic(topics.feedback), "Write"),
            Grant("group", encoders, "Read"),
        ],
        "match": [
            Grant("topic", profile.vectors_topic, "Read"),
            Grant("topic", profile.vectors_topic, "Write"),  # the end of a word, when one of its records is erased
            Grant("topic", dead_letter_topic(profile.vectors_topic), "Write"),
            Grant("topic", topics.events, "Write"),
            Grant("topic", topics.clusters, "Write"),
            Grant("topic", topics.possible, "Write"),
            Grant("group", matchers, "Read"),
        ],
    }
    if settings.kafka.delivery == "exactly_once":
        stages["match"].append(Grant("transactional-id", f"{matchers}.", "Write", prefixed=True))
    every = list(dict.fromkeys(g.name for grants in stages.values() for g in grants if g.resource == "topic"))
    return {
        "topics": [Grant("topic", name, operation) for name in every for operation in ("Create", "Describe")],
        **stages,
        "erase": [Grant("topic", profile.input, "Write")],
        "feedback": [Grant("topic", topics.feedback, "Write")],
        # every command that looks at all there is, or makes it anew
        "recover": [
            *(Grant("topic", name, operation) for name in every for operation in ("Read", "DescribeConfigs")),
            *(Grant("topic", name, "Write") for name in read_topics(settings, profile)),
            Grant("group", encoders, "Describe"),
            Grant("group", matchers, "Read"),
            Grant("group", replay_group(settings, profile), "Read"),
            Grant("group", "dedup-reader", "Describe"),  # of no members: a client has to name one
        ],
        "doctor": [Grant("topic", name, operation) for name in every for operation in ("Describe", "DescribeConfigs")],
    }


_READING: Final = ("eval", "evalsha", "get", "hget", "hgetall", "hmget")
_WRITING: Final = (
    *("del", "hdel", "hincrby", "hkeys", "hset", "sadd", "set", "smembers"),
    *("zadd", "zcard", "zrange", "zrem", "zremrangebyscore"),
    "ping",  # of a connection that was idle
)
_SCANNING: Final = ("hexists", "hscan", "scan", "type", "unlink", "zscan")


def redis_rules(settings: Settings, profile: Profile) -> Mapping[str, Sequence[str]]:
    """Per role that speaks to Redis, the rules of its user: keys of this profile only, and the commands it uses."""
    # see consumer.adapters.redis_layout
    begins = f"~{settings.redis.prefix}:{{{profile.name}"
    partitions, scopes = f"{begins}}}:*", f"{begins}/*"
    # every client of a cluster asks which node has which slot, and what the commands look like
    always = ("cluster|slots", "command") if settings.redis.cluster else ()
    return {
        "match": [partitions, scopes, *_allowed(*always, *_READING, *_WRITING)],
        "recover": [partitions, scopes, *_allowed(*always, *_READING, *_WRITING, *_SCANNING)],
        "explain": [scopes, *_allowed(*always, *_READING)],
        "doctor": _allowed(*always, "config|get", "info"),
    }


def _allowed(*commands: str) -> list[str]:
    return [f"+{command}" for command in sorted(commands)]
