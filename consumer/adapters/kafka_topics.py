"""Topics as an operator sees them: create what is missing, describe what is there, check that brokers answer."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # they are exported at run time
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from consumer.adapters.kafka_errors import client_error, explain, is_passing
from consumer.errors import BrokerError, SettingsError

Properties = Mapping[str, str | int | float | bool]
BROKER_DEFAULT: Final = -1
_TIMEOUT_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be. `replication` -1 leaves the number of replicas to the broker."""

    name: str
    partitions: int
    replication: int = BROKER_DEFAULT
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is. `config` holds the values that were set on it, defaults left out."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClusterState:
    """What answered."""

    cluster_id: str
    brokers: int


def create(properties: Properties, specs: Sequence[TopicSpec]) -> list[tuple[str, str]]:
    """Create each topic that is missing; the answer has one (name, outcome) per spec, in their order.

    Outcomes: `created`, `exists`, `exists with <n> partitions` when the spec says another number (it is left as it is),
    or `error: <what and what to do>`. Raises BrokerError when the cluster does not answer: the same call may be
    repeated.
    """
    if not specs:
        return []
    admin = _admin(properties)
    wanted = [
        NewTopic(s.name, num_partitions=s.partitions, replication_factor=s.replication, config=dict(s.config))
        for s in specs
    ]
    try:
        answers = admin.create_topics(wanted, operation_timeout=_TIMEOUT_SECONDS, request_timeout=_TIMEOUT_SECONDS)
    except (KafkaException, ValueError, TypeError) as error:
        raise _admin_error("creating topics", error) from error
    outcomes = {s.name: _outcome(s.name, answers[s.name]) for s in specs}
    there = [s.name for s in specs if outcomes[s.name] == "exists"]
    counts = _partitions(admin, there)
    for spec in specs:
        count = counts.get(spec.name, spec.partitions)
        if count != spec.partitions:
            outcomes[spec.name] = f"exists with {count} partitions"
    return [(s.name, outcomes[s.name]) for s in specs]


def describe(properties: Properties, names: Sequence[str]) -> Mapping[str, TopicState]:
    """State of each topic that exists, by name. Raises BrokerError."""
    admin = _admin(properties)
    counts = _partitions(admin, names)
    if not counts:
        return {}
    metadata = _metadata(admin, _TIMEOUT_SECONDS)
    resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in counts}
    try:
        answers = admin.describe_configs(list(resources.values()), request_timeout=_TIMEOUT_SECONDS)
        entries = {name: answers[resource].result() for name, resource in resources.items()}
    except KafkaException as error:
        raise _admin_error("describing topics", error) from error
    return {
        name: TopicState(
            name,
            count,
            max((len(p.replicas) for p in metadata.topics[name].partitions.values()), default=0),
            {key: entry.value for key, entry in entries[name].items() if not entry.is_default},
        )
        for name, count in counts.items()
    }


def check(properties: Properties, timeout_seconds: float) -> ClusterState:
    """Who answers at `bootstrap.servers`. Raises BrokerError after `timeout_seconds` with no answer."""
    metadata = _metadata(_admin(properties), timeout_seconds)
    return ClusterState(str(metadata.cluster_id), len(metadata.brokers))


def _admin(properties: Properties) -> AdminClient:
    try:
        # What fails is raised; librdkafka itself would write the reason to standard error, twenty times a second.
        return AdminClient({"log_level": 0, **properties})
    except (KafkaException, ValueError, TypeError) as error:
        raise client_error("admin client", error) from error


def _metadata(admin: AdminClient, timeout_seconds: float) -> ClusterMetadata:
    try:
        return admin.list_topics(timeout=timeout_seconds)
    except KafkaException as error:
        raise _admin_error("asking for the cluster", error) from error


def _partitions(admin: AdminClient, names: Sequence[str]) -> dict[str, int]:
    # All topics are asked for, because naming a missing one may create it on a cluster that allows that.
    topics = _metadata(admin, _TIMEOUT_SECONDS).topics if names else {}
    return {name: len(topics[name].partitions) for name in names if name in topics}


def _outcome(name: str, answer: Future[None]) -> str:
    try:
        answer.result()
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return "exists"
        if is_passing(reason):
            raise BrokerError(f"creating topic {name}: {explain(reason)}; then try again") from error
        return f"error: {explain(reason)}"
    return "created"


def _admin_error(doing: str, error: Exception) -> BrokerError | SettingsError:
    first = error.args[0] if error.args else error
    if isinstance(first, KafkaError):
        return BrokerError(f"{doing}: {explain(first)}")
    return SettingsError(f"{doing}: {first}; check the topic settings")
