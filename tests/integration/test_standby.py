"""A hot standby as an operator has it: two matchers, one partition, one of them killed."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pytest

from consumer.simulate import Signup, signups
from tests.deployment import PERSON, QUICK_SESSIONS, Deployment, Process, wait_until


@pytest.fixture
def deployment(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(unique, kafka_servers, redis_url, tmp_path, PERSON)
    made.environment["DEDUP_TOPICS__PARTITIONS"] = "1"
    made.environment["DEDUP_STATE__STANDBY"] = "true"
    made.environment |= QUICK_SESSIONS
    yield made
    made.close()


def start(deployment: Deployment, name: str) -> Process:
    return deployment.start("match", DEDUP_STATE__DIRECTORY=str(deployment.folder / name))


def starts(process: Process) -> list[int]:
    return [entry["start"] for entry in process.log if entry["event"] == "assigned"]


def test_the_survivor_goes_on_where_the_killed_one_was(deployment: Deployment, tmp_path: Path) -> None:
    records = list(signups(260, 11))
    deployment.start("encode", DEDUP_STATE__STANDBY="false").wait_ready()
    first = start(deployment, "first").wait_ready()
    second = start(deployment, "second").wait_ready()
    deployment.send_signups(records[:200])
    deployment.settle()
    owner, heir = (first, second) if starts(first) else (second, first)
    wait_until(lambda: heir.metric("dedup_standby_records") == 200, "the standby has what was decided")
    wait_until(lambda: heir.metric("dedup_standby_lag_records") == 0, "and knows it")
    assert starts(heir) == []
    assert orjson.loads(heir.get("/readyz")[1]) == {"match": "ok", "standby": "ok"}

    owner.kill()
    deployment.send_signups(records[200:])
    deployment.settle()

    assert starts(heir) == [200], "not from the start"
    assert heir.metric("dedup_index_records") == 260
    wait_until(lambda: heir.metric("dedup_standby_records") == 0, "held once")
    events = deployment.events()
    assert len({event["id"] for event in events}) == len(events)
    view = deployment.view()
    assert view.gaps == []
    assert {frozenset(members) for members in view.clusters.values()} == alone(deployment, records, tmp_path)
    assert heir.stop() == 0


def alone(deployment: Deployment, records: Sequence[Signup], folder: Path) -> set[frozenset[str]]:
    """The clusters that one matcher finds, undisturbed."""
    source = folder / "records.jsonl"
    source.write_bytes(b"\n".join(orjson.dumps({"id": r.id, **r.value}) for r in records))
    done = deployment.run("batch", str(source), "--out", str(folder / "alone"))
    assert done.returncode == 0, done.stderr
    clusters: dict[str, set[str]] = {}
    with (folder / "alone" / "clusters.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            clusters.setdefault(row["cluster_id"], set()).add(row["id"])
    return {frozenset(members) for members in clusters.values() if len(members) > 1}
