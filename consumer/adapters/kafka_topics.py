"""Topics as an operator sees them: create what is missing, describe what is there, check that brokers answer."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from consumer.adapters.kafka_causes import Causes
from consumer.adapters.kafka_errors import client_error, explain, is_passing
from consumer.errors import BrokerError, SettingsError

Properties = Mapping[str, str | int | float | bool]
BROKER_DEFAULT: Final = -1
_TIMEOUT_SECONDS: Final = 15.0
_IN_PROCESS: Final = "mockCluster"
"""How the cluster id of librdkafka's own broker begins."""
_SEEN_SECONDS: Final = 5.0
_SLICE_SECONDS: Final = 1.0
"""Of the wait for an answer, at first, then twice as long: after each it is looked whether there is a reason that none comes."""


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
    _metadata(admin, _TIMEOUT_SECONDS)  # says why nobody answers; the call below would not
    wanted = [
        NewTopic(s.name, num_partitions=s.partitions, replication_factor=s.replication, config=dict(s.config))
        for s in specs
    ]
    try:
        answers = admin.create_topics(wanted, operation_timeout=_TIMEOUT_SECONDS, request_timeout=_TIMEOUT_SECONDS)
    except (KafkaException, ValueError, TypeError) as error:
        raise _admin_error("creating topics", error) from error
    outcomes = {s.name: _outcome(s.name, answers[s.name]) for s in specs}
    _await(admin, [name for name, outcome in outcomes.items() if outcome in {"created", "exists"}])
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


def identity(properties: Properties, name: str) -> str:
    """The broker's own id of a topic, another one when it is deleted and made anew; empty where brokers give none.

    Raises BrokerError, also when there is no such topic.
    """
    admin = _admin(properties)
    if str(_metadata(admin, _TIMEOUT_SECONDS).cluster_id).startswith(_IN_PROCESS):
        return ""  # it would not answer
    try:
        asked = admin.describe_topics(TopicCollection([name]), request_timeout=_TIMEOUT_SECONDS)
        found = asked[name].result().topic_id
    except KafkaException as error:
        raise _admin_error(f"describing topic {name}", error) from error
    # twelve bytes of nothing are what a broker older than the ids answers with
    return (
        ""
        if found is None or not (found.get_most_significant_bits() or found.get_least_significant_bits())
        else str(found)
    )


def configuration(properties: Properties, name: str) -> Mapping[str, str]:
    """Every setting of a topic as it is in force, the broker's defaults included. Raises BrokerError."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    admin = _admin(properties)
    try:
        entries = admin.describe_configs([resource], request_timeout=_TIMEOUT_SECONDS)[resource].result()
    except KafkaException as error:
        raise _admin_error(f"describing topic {name}", error) from error
    return {key: entry.value for key, entry in entries.items() if entry.value is not None}


def check(properties: Properties, timeout_seconds: float) -> ClusterState:
    """Who answers at `bootstrap.servers`. Raises BrokerError after `timeout_seconds` with no answer."""
    metadata = _metadata(_admin(properties), timeout_seconds)
    return ClusterState(str(metadata.cluster_id), len(metadata.brokers))


class _Admin(AdminClient):
    """A client that knows why it is not let in."""

    def __init__(self, properties: Properties) -> None:
        self.causes = Causes()
        # What fails is raised; librdkafka itself would write the reason to standard error, twenty times a second.
        config: dict[str, Any] = {"log_level": 0, **properties, "error_cb": self.causes}
        super().__init__(config)
        self.servers = properties.get("bootstrap.servers", "")


def _admin(properties: Properties) -> _Admin:
    try:
        return _Admin(properties)
    except (KafkaException, ValueError, TypeError) as error:
        raise client_error("admin client", error) from error


def _metadata(admin: _Admin, timeout_seconds: float) -> ClusterMetadata:
    deadline, wait = time.monotonic() + timeout_seconds, _SLICE_SECONDS
    while True:
        try:
            return admin.list_topics(timeout=min(wait, timeout_seconds))
        except KafkaException as error:
            admin.poll(0)
            cause = admin.causes.of(error.args[0])
            left = deadline - time.monotonic()
            if cause is not error.args[0] or left <= 0:
                raise _admin_error(f"Kafka at {admin.servers}", KafkaException(cause)) from error
            wait = max(0.1, min(2 * wait, left))


def _partitions(admin: _Admin, names: Sequence[str]) -> dict[str, int]:
    # All topics are asked for, because naming a missing one may create it on a cluster that allows that.
    topics = _metadata(admin, _TIMEOUT_SECONDS).topics if names else {}
    return {name: len(topics[name].partitions) for name in names if name in topics}


def _await(admin: _Admin, names: Sequence[str]) -> None:
    """Return once the brokers tell of these topics, which they made a moment ago, perhaps for another process.

    Not for longer than a while: whoever may create a topic need not be one who may see it.
    """
    deadline = time.monotonic() + _SEEN_SECONDS
    while time.monotonic() < deadline:
        topics = _metadata(admin, _TIMEOUT_SECONDS).topics
        if all(name in topics and topics[name].error is None for name in names):
            return
        time.sleep(0.05)


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
