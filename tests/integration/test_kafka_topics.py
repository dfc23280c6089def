"""Topics on a real Kafka, as an operator meets them."""

import pytest
from confluent_kafka.admin import AdminClient

from consumer.adapters.kafka_topics import TopicSpec, check, create, describe, identity
from consumer.errors import BrokerError
from tests.deployment import wait_until


def test_create_tells_created_from_existing_and_refused(kafka_servers: str, unique: str) -> None:
    properties = {"bootstrap.servers": kafka_servers}
    spec = TopicSpec(unique, 2, config={"cleanup.policy": "compact"})
    assert create(properties, [spec]) == [(unique, "created")]
    outcomes = create(properties, [spec, TopicSpec(f"{unique}-many", 1, replication=9), TopicSpec("no spaces", 1)])
    assert [name for name, _ in outcomes] == [unique, f"{unique}-many", "no spaces"]
    assert outcomes[0][1] == "exists"
    assert outcomes[1][1].startswith("error: there are fewer brokers")
    assert outcomes[2][1].startswith("error: ")
    assert create(properties, [TopicSpec(unique, 3)]) == [(unique, "exists with 2 partitions")]


def test_describe_leaves_out_what_does_not_exist(kafka_servers: str, unique: str) -> None:
    properties = {"bootstrap.servers": kafka_servers}
    create(properties, [TopicSpec(unique, 2, config={"cleanup.policy": "compact"})])
    states = describe(properties, [unique, f"{unique}-missing"])
    assert list(states) == [unique]
    assert (states[unique].partitions, states[unique].replication) == (2, 1)
    assert states[unique].config["cleanup.policy"] == "compact"
    assert describe(properties, [f"{unique}-missing"]) == {}


def test_check_counts_brokers_and_says_when_none_answers(kafka_servers: str) -> None:
    assert check({"bootstrap.servers": kafka_servers}, 10.0).brokers >= 1
    with pytest.raises(BrokerError, match=r"bootstrap\.servers"):
        check({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, 1.0)


def test_a_property_that_does_not_exist_is_named() -> None:
    with pytest.raises(BrokerError, match="nonsense"):
        check({"nonsense": 1}, 1.0)


def test_a_topic_that_is_made_anew_has_another_identity(kafka_servers: str, unique: str) -> None:
    properties = {"bootstrap.servers": kafka_servers}
    create(properties, [TopicSpec(unique, 2)])
    first = identity(properties, unique)
    assert first == identity(properties, unique) != ""
    admin = AdminClient({"bootstrap.servers": kafka_servers})
    admin.delete_topics([unique])[unique].result()
    wait_until(lambda: create(properties, [TopicSpec(unique, 2)]) == [(unique, "created")], "the topic is gone")
    assert identity(properties, unique) not in (first, "")
    with pytest.raises(BrokerError, match="does not exist"):
        identity(properties, f"{unique}-missing")
