"""Which protocol a consumer joins its group by, and what static membership keeps."""

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial

import pytest

from consumer.adapters import kafka_topics
from consumer.adapters.kafka_group import consumer_config
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_source import KafkaSource
from consumer.records import Outgoing
from consumer.settings import load_settings
from tests import services
from tests.conftest import provided

PATIENCE_SECONDS = 30.0
PARTITIONS = 2


def filled(servers: str, topic: str) -> None:
    spec = kafka_topics.TopicSpec(topic, PARTITIONS)
    assert kafka_topics.create({"bootstrap.servers": servers}, [spec]) == [(topic, "created")]
    publisher = KafkaPublisher({"bootstrap.servers": servers})
    publisher.publish([Outgoing(topic, b"k", b"%d" % i, partition=i % PARTITIONS) for i in range(10)])
    publisher.flush()


def read(source: KafkaSource, count: int) -> list[bytes | None]:
    values: list[bytes | None] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(values) < count and time.monotonic() < deadline:
        values += [m.value for m in source.poll(100, 0.2)]
    return sorted(values, key=lambda value: value or b"")


@pytest.mark.parametrize(
    ("given", "protocol"),
    [
        ({}, "consumer"),
        ({"group.protocol": "classic"}, "classic"),
        ({"group.protocol": "consumer"}, "consumer"),
        ({"session.timeout.ms": 6000}, "classic"),
        ({"partition.assignment.strategy": "range"}, "classic"),
    ],
)
def test_the_newer_protocol_unless_the_classic_one_is_chosen_or_needed(
    given: Mapping[str, str | int], protocol: str
) -> None:
    config = consumer_config(given, "g")
    assert config["group.protocol"] == protocol
    strategy = config.get("partition.assignment.strategy")
    assert strategy == (
        given.get("partition.assignment.strategy", "cooperative-sticky") if protocol == "classic" else None
    )


def test_what_the_promise_hangs_on_cannot_be_set_otherwise() -> None:
    config = consumer_config({"isolation.level": "read_uncommitted", "enable.auto.commit": True}, "g")
    assert (config["isolation.level"], config["enable.auto.commit"]) == ("read_committed", False)


def test_brokers_that_do_not_speak_the_newer_protocol_are_joined_by_the_classic_one(unique: str) -> None:
    for server in provided(partial(services.kafka, "classic")):
        filled(server.address, unique)
        with closing(KafkaSource({"bootstrap.servers": server.address, "log_level": 0}, "g", [unique])) as source:
            assert read(source, 10) == [b"%d" % i for i in range(10)]


def test_a_restart_under_the_same_instance_moves_no_partition(kafka_servers: str, unique: str) -> None:
    filled(kafka_servers, unique)
    moves: list[tuple[str, int]] = []

    def member(name: str) -> KafkaSource:
        settings = load_settings(None, {"kafka.bootstrap_servers": kafka_servers, "kafka.instance": name})

        def assigned(partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
            moves.append((name, len(partitions)))
            return {}

        return KafkaSource({**settings.kafka.consumer_properties, "log_level": 0}, unique, [unique], assigned)

    def until_both_have_one(one: KafkaSource, two: KafkaSource) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (len(one.lag()) == len(two.lag()) == 1):
            assert time.monotonic() < deadline
            one.poll(10, 0.1)
            two.poll(10, 0.1)

    with closing(member("one")) as stays:
        leaves = member("two")
        until_both_have_one(stays, leaves)
        leaves.close()
        moves.clear()
        with closing(member("two")) as comes_back:
            until_both_have_one(stays, comes_back)
        assert moves == [("two", 1)], "the other one was given nothing meanwhile"


DIES = """
import sys
from consumer.adapters.kafka_source import KafkaSource
from consumer.settings import load_settings

settings = load_settings(None, {"kafka.bootstrap_servers": sys.argv[1], "kafka.instance": "one"})
source = KafkaSource(settings.kafka.consumer_properties, sys.argv[2], [sys.argv[2]], lambda _: print("mine", flush=True) or {})
while True:
    source.poll(10, 0.1)
"""


def test_a_process_that_died_is_replaced_under_its_instance_before_its_session_ends(
    kafka_servers: str, unique: str
) -> None:
    """The newer protocol keeps its place; the classic one, which is then spoken, gives it away at once."""
    filled(kafka_servers, unique)
    command = [sys.executable, "-c", DIES, kafka_servers, unique]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dies:
        assert dies.stdout is not None
        assert dies.stdout.readline() == "mine\n"
        dies.kill()
    settings = load_settings(None, {"kafka.bootstrap_servers": kafka_servers, "kafka.instance": "one"})
    with closing(KafkaSource({**settings.kafka.consumer_properties, "log_level": 0}, unique, [unique])) as source:
        assert read(source, 10) == [b"%d" % i for i in range(10)]
        assert source._config["group.protocol"] == "classic"
