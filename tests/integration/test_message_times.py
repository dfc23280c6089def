"""Messages from producers whose clocks, or units, are wrong: `dedup run` on a real Kafka."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.deployment import DAY, PERSON, Deployment, key_of

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def deployment(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(unique[-40:].strip("-"), kafka_servers, redis_url, tmp_path, PERSON)
    yield made
    made.close()


def create(deployment: Deployment, topic: str, config: dict[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": deployment.servers})
    admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(30)


def test_a_time_that_brokers_refuse_elsewhere_stops_nothing(deployment: Deployment) -> None:
    """Brokers before version 4, and topics that are told so, take any; topics made on newer ones none that is an hour ahead."""
    create(deployment, deployment.input, {"message.timestamp.after.max.ms": str(2**63 - 1)})
    service = deployment.start().wait_ready()
    now_ms = time.time_ns() // 1_000_000
    ahead = {"a-day": now_ms + DAY_MS, "microseconds": now_ms * 1000}
    for key, timestamp_ms in ahead.items():
        deployment.send(key, {"name": "Ada", **DAY}, timestamp_ms)
    deployment.send("erased", None, now_ms + DAY_MS)
    deployment.send("bad", b"{", now_ms + DAY_MS)
    deployment.send("good", {"name": "Bob", **DAY})
    deployment.settle()
    assert {key_of(m) for m in deployment.read(deployment.vectors) if m.value() is not None} == {*ahead, "good"}
    assert [key_of(m) for m in deployment.dead_letters()] == ["bad"]
    assert service.stop() == 0


def test_where_a_topic_takes_no_old_times_the_reason_is_told(deployment: Deployment) -> None:
    create(
        deployment, deployment.vectors, {"message.timestamp.before.max.ms": str(DAY_MS), "cleanup.policy": "compact"}
    )
    service = deployment.start(DEDUP_TOPICS__PARTITIONS="1").wait_ready()
    deployment.send("old", {"name": "Ada", **DAY}, time.time_ns() // 1_000_000 - 2 * DAY_MS)
    deployment.flush()
    assert service.wait() == 1
    assert "takes no message of that time; see message.timestamp.before.max.ms" in service.stderr
