"""Each fault of docs/operations.md, provoked for real: what `/readyz`, metrics, log and exit code say, and what is lost: nothing."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest
from confluent_kafka.admin import AdminClient

from tests import services
from tests.deployment import DAY, PERSON, QUICK_SESSIONS, Deployment, Process, key_of, value_of, wait_until
from tests.services import Server

Deploy = Callable[..., Deployment]


@pytest.fixture
def deploy(kafka_servers: str, redis_server: Server, unique: str, tmp_path: Path) -> Iterator[Deploy]:
    """A maker of a deployment over a Redis of its own."""
    with ExitStack() as stack:

        def make(servers: str = kafka_servers) -> Deployment:
            made = Deployment(unique[-40:].strip("-"), servers, redis_server.address, tmp_path, PERSON)
            made.environment |= {"DEDUP_TOPICS__PARTITIONS": "1", **QUICK_SESSIONS}
            stack.callback(made.close)
            return made

        yield make


def person(name: str) -> dict[str, object]:
    return {"name": name, "city": "Wien", **DAY}


def said(process: Process, event: str) -> list[str]:
    """The reasons that the log gave for an event."""
    return [entry.get("reason", "") for entry in process.log if entry["event"] == event]


def waits_for(process: Process, *words: str) -> Callable[[], bool]:
    """Whether the process says that it waits, and for what, wherever it is asked."""

    def condition() -> bool:
        status, body = process.get("/readyz")
        reason = " ".join(json.loads(body).values())
        return status == 503 and all(word in reason for word in words) and process.metric("dedup_waiting") > 0

    return condition


@contextmanager
def no_room(deployment: Deployment) -> Iterator[None]:
    """A Redis that takes no write while this lasts."""
    with deployment.redis() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


def test_a_disk_a_redis_and_a_topic_that_refuse(deploy: Deploy) -> None:
    deployment = deploy()
    blocked = deployment.folder / "a-file"
    blocked.write_text("where the folder of snapshots should be")
    service = deployment.start(
        DEDUP_STATE__DIRECTORY=str(blocked / "state"), DEDUP_STATE__SNAPSHOT_RECORDS="2"
    ).wait_ready()

    # a disk that cannot be written: told, and of no consequence but a longer start
    for n in range(4):
        deployment.send(f"a-{n}", person("Adaeze Brennan"))
    deployment.settle()
    wait_until(lambda: bool(said(service, "snapshot not written")), "says that it has no snapshot")
    assert service.metric("dedup_snapshot_failures_total", action="save") >= 1
    assert service.get("/readyz")[0] == 200

    # a full Redis: waited out
    with no_room(deployment):
        for n in range(4):
            deployment.send(f"b-{n}", person("Wilhelm Żukowski"))
        deployment.flush()
        wait_until(waits_for(service, "Redis", "out of memory", "raise maxmemory"), "waits for room")
        assert service.get("/livez")[0] == 200
    deployment.settle()
    wait_until(lambda: service.get("/readyz")[0] == 200, "goes on")
    assert (len(said(service, "waiting")), len(said(service, "resumed"))) == (1, 1), "one line each"
    assert deployment.assignments().keys() == {f"{letter}-{n}" for letter in "ab" for n in range(4)}

    # a topic that is gone: nothing helps until a person does something
    admin = AdminClient({"bootstrap.servers": deployment.servers})
    admin.delete_topics([f"{deployment.name}.events"])[f"{deployment.name}.events"].result()
    deployment.send("b-4", person("Wilhelm Żukowski"))
    deployment.flush()
    assert service.wait() == 1
    (message,) = [line for line in service.stderr.splitlines() if line.startswith("dedup: ")]
    assert "does not exist; create it with `dedup topics create`" in message
    assert "Traceback" not in service.stderr

    refused = deployment.start(DEDUP_TOPICS__CREATE="false")
    assert refused.wait() == 1
    assert "does not exist" in refused.stderr
    assert "Traceback" not in refused.stderr
    again = deployment.start().wait_ready()  # which makes the topic
    deployment.settle()
    told = [orjson.loads(value_of(m))["data"] for m in deployment.read(f"{deployment.name}.events")]
    assert [record for data in told for record in data["added"]] == ["b-4"], "it was still owed"
    assert again.stop() == 0


def test_too_many_rejects_stop_the_process_and_lose_nothing(deploy: Deploy) -> None:
    deployment = deploy()
    limits = {"DEDUP_LIMITS__CONSECUTIVE_REJECTS": "20", "DEDUP_LIMITS__BATCH_RECORDS": "8"}
    service = deployment.start(**limits).wait_ready()
    keys = [f"bad-{n}" for n in range(40)]
    deployment.send("good-0", person("Adaeze Brennan"))
    for key in keys:
        deployment.send(key, b"{")
    deployment.send("good-1", person("Adaeze Brennan"))
    deployment.flush()
    assert service.wait() == 1
    (message,) = [line for line in service.stderr.splitlines() if line.startswith("dedup: ")]
    for part in (
        "messages in a row were rejected",
        "not JSON",
        f"{deployment.input}.dlq",
        "limits.consecutive_rejects",
    ):
        assert part in message
    assert said(service, "stopped") == [message.removeprefix("dedup: ")]

    # started again as it is, it goes on behind the last letter and stops once more; with a higher limit it gets through
    again = deployment.start(**limits)
    deployment.send("good-2", person("Adaeze Brennan"))
    wait_until(lambda: again.ended or deployment.committed("encode", deployment.input) == {0: 43}, "goes on")
    patient = deployment.start().wait_ready() if again.ended else again
    deployment.settle()
    assert Counter(key_of(m) for m in deployment.dead_letters()) == Counter(keys)
    assert deployment.assignments().keys() == {"good-0", "good-1", "good-2"}
    assert patient.stop() == 0


@pytest.mark.parametrize("mode", ["exactly_once"])
def test_a_kafka_that_goes_and_comes_is_waited_out(deploy: Deploy, mode: str) -> None:
    with services.kafka() as kafka:
        deployment = deploy(kafka.address)
        service = deployment.start(DEDUP_KAFKA__DELIVERY=mode).wait_ready()
        deployment.send("a-0", person("Adaeze Brennan"))
        deployment.settle()
        kafka.kill()
        wait_until(waits_for(service, "check bootstrap.servers and that Kafka is running"), "waits for the broker")
        assert service.get("/livez")[0] == 200
        kafka.start()
        deployment.send("a-1", person("Adaeze Brennan"))
        deployment.settle()
        wait_until(lambda: service.get("/readyz")[0] == 200, "goes on")
        assert deployment.assignments().keys() == {"a-0", "a-1"}
        assert not service.ended
        assert "Traceback" not in service.stderr
        assert len(said(service, "waiting")) <= 2, "once a stage"
        assert service.stop() == 0
