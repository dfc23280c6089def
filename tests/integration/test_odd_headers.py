"""Headers as only clients of other languages write them: `dedup run` on a real Kafka."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.deployment import DAY, PERSON, Deployment, headers_of, key_of
from tests.raw_kafka import produce


@pytest.fixture
def deployment(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(unique[-40:].strip("-"), kafka_servers, redis_url, tmp_path, PERSON)
    made.environment["DEDUP_TOPICS__PARTITIONS"] = "1"
    yield made
    made.close()


def test_a_name_that_is_no_utf_8_stops_nothing(deployment: Deployment) -> None:
    """Kafka takes any bytes."""
    service = deployment.start().wait_ready()
    server = deployment.servers.split(",")[0]
    odd = [(b"trace", b"1"), (b"\xff\xfe", b"2")]
    produce(server, deployment.input, b"fine", orjson.dumps({"name": "Ada", **DAY}), odd)
    produce(server, deployment.input, b"bad", b"{", odd)
    produce(server, deployment.vectors, b"foreign", b"{", odd)
    deployment.send("good", {"name": "Bob", **DAY})
    deployment.settle()
    assert {"fine", "good"} <= {key_of(m) for m in deployment.read(deployment.vectors)}
    (letter,) = deployment.dead_letters()
    assert key_of(letter) == "bad"
    assert headers_of(letter).keys() >= {"dedup-reason", "dedup-offset"}
    assert service.stop() == 0
