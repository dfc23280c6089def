"""`dedup erase --verify` on a real Kafka and Redis: it finds what is there, and after an erasure nothing is."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from consumer.commands.erase import tell
from consumer.erasure.erase import Proof, prove_erasure
from consumer.settings import load_settings
from tests.deployment import DAY, PERSON, Deployment

Prove = Callable[..., Proof]


@pytest.fixture
def deployment(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(unique[-40:].strip("-"), kafka_servers, redis_url, tmp_path, PERSON)
    made.environment |= {"DEDUP_TOPICS__PARTITIONS": "2", "DEDUP_STATE__ERASED_MINUTES": "0"}
    yield made
    made.close()


@pytest.fixture
def prove(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Prove:
    """`dedup erase --verify` in this process."""

    def run(record_id: str, *, request: bool, wait: float = 0.0) -> Proof:
        for name, value in deployment.environment.items():
            monkeypatch.setenv(name, value)
        return prove_erasure(load_settings(), record_id, wait, request=request)

    return run


def person(name: str, city: str = "Wien") -> dict[str, object]:
    return {"name": name, "city": city, **DAY}


def places(proof: Proof) -> set[str]:
    return {live.where for live in proof.report.live}


def test_an_erasure_is_proven_and_what_topics_keep_is_told_with_its_end(
    deployment: Deployment, prove: Prove, capsys: pytest.CaptureFixture[str]
) -> None:
    service = deployment.start(DEDUP_STATE__SNAPSHOT_RECORDS="4").wait_ready()
    for record in ("quorra-1", "quorra-2", "quorra-3"):
        deployment.send(record, person("Adaeze Brennan"))  # of one vector, which the others keep
    deployment.send("quorra-1", person("Adaeze M. Brennan"))  # and one of its own
    word = {"a": "quorra-1", "b": "zephyr-1", "verdict": "different", "by": "quorra-1", "profile": deployment.name}
    deployment.send("word", word, topic=deployment.feedback)
    deployment.send("zephyr-1", person("Wilhelm Żukowski", "Gdańsk"))
    deployment.send("quorra-1", b"{")  # a dead letter
    deployment.settle()

    before = prove("quorra-1", request=False)
    assert not before.holds
    kinds = {"records", "assignments", "members", "edges", "verdicts"}
    assert places(before) >= {f"redis {kind}" for kind in kinds} | {"snapshot", f"topic {deployment.vectors}"}
    assert f"topic {deployment.name}.clusters" in places(before)
    assert prove("quorra", request=False).holds, "half of an id is no id"

    done = deployment.run("erase", "quorra-1", "--verify", "--wait", "50", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["erased"], told["live"], told["late"]) == (0, True, [], ""), done.stderr
    assert all(told["looked_at"][place] > 0 for place in ("redis", "topics", "files"))
    assert told["remembered"] == 1
    kept = {(entry["topic"], entry["what"]): entry for entry in told["retained"]}
    named = {topic.removeprefix(deployment.name) for topic, what in kept if what == "messages"}
    assert named >= {".in", ".in.dlq", ".feedback", ".events"}
    assert {(deployment.vectors, "older versions"), (deployment.vectors, "null values")} <= kept.keys()
    assert all(entry["gone_by"] for entry in kept.values()), "the topics we make set an end to everything"
    assert deployment.assignments().keys() == {"quorra-2", "quorra-3"}
    assert service.stop() == 0

    with deployment.redis() as client:  # what a defect would leave
        root = f"{deployment.name}:{{{deployment.name}/default}}:"
        client.hset(f"{root}members:c0", "quorra-1", "[]")
        client.hset(f"{root}edges:quorra-2", "quorra-1", "[]")
        client.set(f"{root}kind-of-tomorrow", orjson.dumps({"members": ["quorra-1"]}))
        client.zadd(f"{root}redo", {"quorra-1": 1})
    found = prove("quorra-1", request=False)
    assert places(found) == {"redis members", "redis edges", "redis kind-of-tomorrow", "redis redo"}
    proof = prove("quorra-1", request=True, wait=0.1)
    assert "the encode stage" in proof.late, "nobody runs"
    assert "does it run?" in proof.late
    tell("quorra-1", proof)
    words = capsys.readouterr().out
    assert "quorra-1: IS LEFT in the present state" in words
    assert "gone by 20" in words
