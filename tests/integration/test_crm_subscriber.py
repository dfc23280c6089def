"""`examples/crm_subscriber.py` as its user runs it: a process against a real Kafka."""

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.adapters.memory_clusters import MemoryClusters
from consumer.events import EventRenderer
from consumer.records import Cause, ClusterChange, Position
from consumer.simulate import signups
from tests.cluster_scenarios import SCOPE, Erase, Step, Upsert, names, play
from tests.deployment import QUICK_SESSIONS, Deployment
from tests.stories import Deploy

PROGRAM = Path(__file__).parents[2] / "examples" / "crm_subscriber.py"
IDS = names(30)
PARTITIONS = 3
Event = tuple[str, bytes]
"""Key and value."""


def history(seed: int) -> list[Event]:
    """The cluster events of a busy while."""
    rng = random.Random(seed)
    steps: list[Step] = []
    for _ in range(200):
        record, *others = rng.sample(IDS, 3)
        if rng.random() < 0.15:
            steps.append(Erase(record))
        else:
            matches = {other: rng.random() < 0.7 for other in others[: rng.randint(0, 2)]}
            steps.append(Upsert(record, rng.randint(0, 50), rng.random(), matches))
    changes = [c for c in play(MemoryClusters(), steps) if isinstance(c, ClusterChange)]
    renderer = EventRenderer("profile", SCOPE, "config")
    causes = [Cause(Position("vectors", 0, i), Position("records", 0, i), i) for i in range(len(changes))]
    entries = [renderer.entry(change, cause) for change, cause in zip(changes, causes, strict=True)]
    return [(entry.key, entry.value) for entry in entries]


def clusters(events: Sequence[Event]) -> Mapping[str, set[str]]:
    """Members per live cluster after the events, by adding and removing."""
    members: dict[str, set[str]] = {}
    for key, value in events:
        data = json.loads(value)["data"]
        members[key] = (members.get(key, set()) | set(data["added"])) - set(data["removed"])
    return {key: records for key, records in members.items() if records}


def states(events: Sequence[Event]) -> list[tuple[str, bytes | None]]:
    """What is true after some events, as the compacted topic has it: each cluster that lives, and how others ended."""
    last = {key: json.loads(value)["data"] for key, value in events}
    return [(key, None if data["size"] == 0 else json.dumps(data).encode()) for key, data in last.items()]


def create(servers: str, topic: str) -> None:
    """The topic of events, and that of states."""
    admin = AdminClient({"bootstrap.servers": servers})  # has to outlive its answers
    topics = [NewTopic(name, PARTITIONS, 1) for name in (topic, f"{topic}.states")]
    for created in admin.create_topics(topics).values():
        created.result(timeout=30)


def produce(servers: str, topic: str, events: Sequence[tuple[str, bytes | None]], *, commit: bool = True) -> None:
    """In one transaction, so the topic also holds the markers that a consumer never sees as messages."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": topic, "partitioner": "murmur2_random"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for key, value in events:
        producer.produce(topic, value, key)
    assert producer.flush(30) == 0
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def subscribe(servers: str, topic: str, database: Path) -> subprocess.CompletedProcess[str]:
    topics = ["--events", topic, "--states", f"{topic}.states"]
    arguments = ["--bootstrap-servers", servers, *topics, "--database", str(database), "--once"]
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments, "--property", "client.id=crm"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def applied(servers: str, topic: str, database: Path) -> int:
    done = subscribe(servers, topic, database)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split("applied ")[1].split()[0])


def table(database: Path) -> Mapping[str, set[str]]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT cluster_id, record_id FROM record_cluster").fetchall()
    found: dict[str, set[str]] = {}
    for cluster, record in rows:
        found.setdefault(cluster, set()).add(record)
    return found


def test_the_table_stays_in_step_through_restarts_and_redelivery(
    kafka_servers: str, unique: str, tmp_path: Path
) -> None:
    database, events = tmp_path / "crm.sqlite", history(seed=7)
    half = len(events) // 2
    create(kafka_servers, unique)

    produce(kafka_servers, unique, events[:half])
    assert applied(kafka_servers, unique, database) == half
    assert table(database) == clusters(events[:half])

    assert applied(kafka_servers, unique, database) == 0
    assert table(database) == clusters(events[:half])

    produce(kafka_servers, unique, events[half:], commit=False)
    assert applied(kafka_servers, unique, database) == 0

    produce(kafka_servers, unique, events[half - 30 :])
    assert applied(kafka_servers, unique, database) == len(events) - half
    assert table(database) == clusters(events)

    produce(kafka_servers, unique, events)
    assert applied(kafka_servers, unique, database) == 0
    assert table(database) == clusters(events)


def test_it_begins_with_the_states_where_the_first_events_are_gone(
    kafka_servers: str, unique: str, tmp_path: Path
) -> None:
    database, events = tmp_path / "crm.sqlite", history(seed=11)
    half = len(events) // 2
    create(kafka_servers, unique)
    produce(kafka_servers, f"{unique}.states", states(events[:half]))
    produce(kafka_servers, unique, events[half - 20 :])  # those before were deleted

    applied(kafka_servers, unique, database)
    assert table(database) == clusters(events)

    produce(kafka_servers, f"{unique}.states", states(events[:3]))  # once there were events, states count for nothing
    assert applied(kafka_servers, unique, database) == 0
    assert table(database) == clusters(events)


def test_a_topic_that_is_missing_is_named(kafka_servers: str, unique: str, tmp_path: Path) -> None:
    done = subscribe(kafka_servers, unique, tmp_path / "crm.sqlite")

    assert done.returncode == 1
    assert unique in done.stderr
    assert "Traceback" not in done.stderr


def test_a_message_that_is_no_event_stops_it_with_its_place(kafka_servers: str, unique: str, tmp_path: Path) -> None:
    create(kafka_servers, unique)
    produce(kafka_servers, unique, [*history(seed=1)[:1], ("key", b"no JSON")])

    done = subscribe(kafka_servers, unique, tmp_path / "crm.sqlite")

    assert done.returncode == 1
    assert f"cannot apply {unique}[" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_crm_subscriber_keeps_in_step_with_the_stream(deploy: Deploy, tmp_path: Path) -> None:
    deployment = deploy()
    deployment.environment |= QUICK_SESSIONS
    database = tmp_path / "crm.sqlite"
    records = list(signups(300, seed=31))
    service = deployment.start().wait_ready()
    deployment.send_signups(records[:150])
    deployment.settle()
    follow(deployment, database)
    assert crm(database) == deployment.assignments() != {}

    deployment.send_signups(records[150:])
    deployment.flush()
    service.kill()  # what it had sent and not acknowledged comes again
    deployment.start().wait_ready()
    for record in records[:40]:
        deployment.send(record.id, None)
    deployment.settle()
    follow(deployment, database)
    assert crm(database) == deployment.assignments()
    assert not crm(database).keys() & {record.id for record in records[:40]}
    follow(deployment, database)
    assert crm(database) == deployment.assignments()


def follow(deployment: Deployment, database: Path) -> None:
    """Run the example to the end of the events."""
    topics = ["--events", f"{deployment.name}.events", "--states", f"{deployment.name}.clusters"]
    where = ["--bootstrap-servers", deployment.servers, *topics]
    subprocess.run(
        [sys.executable, str(PROGRAM), *where, "--database", str(database), "--once"], check=True, timeout=60
    )


def crm(database: Path) -> dict[str, str]:
    """Record → cluster, as the CRM has it."""
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute("SELECT record_id, cluster_id FROM record_cluster"))
