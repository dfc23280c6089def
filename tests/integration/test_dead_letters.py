"""`dedup dlq` on a real Kafka and Redis: what is shown, what is sent again, and what is not."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.commands.dlq import dlq
from consumer.letters.dead_letters import Choice
from consumer.letters.replay import Mailbox, Outcome
from consumer.records import Position
from consumer.sections import MESSAGE_MAX_BYTES
from consumer.settings import load_settings
from tests.deployment import DAY, PERSON, Deployment, headers_of, key_of

STRICT = {**yaml.safe_load(PERSON.read_text())["fields"], "phone": {"type": "number"}}
"""The fields of a profile that refuses a phone that is no number."""


@pytest.fixture
def deployment(kafka_servers: str, redis_url: str, unique: str, tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(unique[-40:].strip("-"), kafka_servers, redis_url, tmp_path, PERSON, fields=STRICT)
    made.environment["DEDUP_TOPICS__PARTITIONS"] = "2"
    yield made
    made.close()


@pytest.fixture
def replay(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """`dedup dlq replay` in this process."""

    def run(choice: Choice, *, dry_run: bool = False, group: str | None = None) -> Outcome:
        named = {**deployment.environment, "DEDUP_KAFKA__GROUP": group or deployment.name}
        for name, value in named.items():
            monkeypatch.setenv(name, value)
        with Mailbox(load_settings()) as mailbox:
            return mailbox.replay(choice, dry_run=dry_run)

    return run


def listed(deployment: Deployment, *arguments: str) -> Any:
    done = deployment.run("dlq", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lenient(deployment: Deployment) -> str:
    """A profile file that knows no phone."""
    content = yaml.safe_load(Path(deployment.environment["DEDUP_PROFILE"]).read_text())
    file = deployment.folder / "lenient.yaml"
    file.write_text(yaml.safe_dump({**content, "fields": {k: v for k, v in STRICT.items() if k != "phone"}}))
    return str(file)


def person(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "city": "Wien", **DAY, **more}


def sent_again(deployment: Deployment) -> Counter[str]:
    """Keys of the messages on the input that a replay put there."""
    return Counter(key_of(m) for m in deployment.read(deployment.input) if "dedup-replayed" in headers_of(m))


def forget_input(deployment: Deployment) -> None:
    """Delete every message of the input, as retention does."""
    admin = AdminClient({"bootstrap.servers": deployment.servers})
    ends = [TopicPartition(deployment.input, n, end) for n, end in deployment.ends(deployment.input).items()]
    for answer in admin.delete_records(ends).values():
        answer.result()


def test_letters_are_shown_and_sent_again_once_and_undo_nothing(
    deployment: Deployment, replay: Callable[..., Outcome]
) -> None:
    service = deployment.start().wait_ready()
    for record in ("r1", "r2", "r3"):
        deployment.send(record, person("Zqletter Brennan", phone=["none"]))
    deployment.send("r4", b"{")
    deployment.send(None, b'{"name": "nobody"}')
    deployment.send("r2", person("Thandiwe Ndiaye"))  # mended by its producer since
    deployment.send("r3", None)  # erased since
    deployment.settle()
    assert service.stop() == 0

    found = listed(deployment)
    assert_listed(found)
    shown = deployment.run("dlq", "list", "--by-offset", "--reason", "PHONE")
    assert "3 dead letters, 3 of them not replayed" in shown.stdout
    assert "Zqletter" not in shown.stdout + json.dumps(found)
    (with_payload,) = listed(deployment, "--reason", "JSON", "--payload")["shown"]
    assert (with_payload["payload"], with_payload["key"], with_payload["bytes"]) == ("{", "r4", 1)

    service = deployment.start(DEDUP_PROFILE=lenient(deployment)).wait_ready()
    assert replay(Choice(), dry_run=True) == Outcome(replayed=3, superseded=2)
    assert sent_again(deployment) == Counter()
    assert replay(Choice("PHONE")) == Outcome(replayed=1, superseded=2)
    assert sent_again(deployment) == Counter(["r1"])
    one = Choice(origins=frozenset([Position.parse(with_payload["from"])]))
    assert (replay(one), replay(one)) == (Outcome(replayed=1), Outcome())
    deployment.settle()
    assert sent_again(deployment) == Counter(["r1", "r4"])
    keys = Counter(key_of(m) for m in deployment.read(deployment.vectors) if m.value() is not None)
    assert keys == {"r1": 1, "r2": 1}, "what was mended or erased since was left as it is"
    found = listed(deployment)
    assert (found["letters"], found["waiting"]) == (6, 2), "the one without a key, and r4, rejected once more"
    assert {row["key"]: row["replayed"] for row in found["shown"]}["r1"]

    # a group that remembers no replay
    assert replay(Choice("phone"), group=f"{deployment.name}-2") == Outcome(superseded=2, repeated=1)
    forget_input(deployment)
    outcome = replay(Choice("phone"), dry_run=True, group=f"{deployment.name}-3")
    assert outcome == Outcome(superseded=2, replayed=1), "the store has newer versions of r1 and r2, and nothing of r3"
    assert service.stop() == 0


def assert_listed(found: Mapping[str, Any]) -> None:
    assert (found["letters"], found["waiting"], found["foreign"]) == (5, 5, 0)
    reasons = {entry["reason"]: entry["letters"] for entry in found["reasons"]}
    assert reasons["phone: a number is wanted, this is a list"] == 3
    assert sum(reasons.values()) == 5
    assert {row["key"] for row in found["shown"]} == {"r1", "r2", "r3", "r4", None}
    assert all(len(row["sha256"]) == 64 and not row["replayed"] and "payload" not in row for row in found["shown"])
    rejected = [row["rejected"] for row in found["shown"]]
    assert rejected == sorted(rejected, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "say which"),
        (["replay", "--all", "--stage", "encode"], "say which"),
        (["list", "--at", "somewhere"], "TOPIC/PARTITION/OFFSET"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(dlq, arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_one_that_came_compressed_and_is_larger_than_topics_take_stops_nothing(
    deployment: Deployment, replay: Callable[..., Outcome]
) -> None:
    service = deployment.start().wait_ready()
    producer = Producer(
        {
            "bootstrap.servers": deployment.environment["DEDUP_KAFKA__BOOTSTRAP_SERVERS"],
            "message.max.bytes": 4 * MESSAGE_MAX_BYTES,
            "compression.type": "gzip",
        }
    )
    producer.produce(deployment.input, b'{"name": "' + bytes(2 * MESSAGE_MAX_BYTES), "large", partition=0)
    assert producer.flush(30) == 0
    deployment.send("good", {"name": "Ada", **DAY})
    deployment.settle()
    (letter,) = deployment.dead_letters()
    assert (key_of(letter), letter.value()) == ("large", b"")
    assert headers_of(letter)["dedup-left-out"] == str(2 * MESSAGE_MAX_BYTES + 10)
    assert {key_of(m) for m in deployment.read(deployment.vectors)} == {"good"}
    assert service.stop() == 0
    assert [row["bytes"] for row in listed(deployment)["shown"]] == [2 * MESSAGE_MAX_BYTES + 10]
    assert replay(Choice()) == Outcome(left_out=1)
