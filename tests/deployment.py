"""A deployment of the service as an operator makes one, for tests: `dedup` processes told everything by their environment.

Each has a profile, topics, groups, a key prefix and a folder of its own. What it shows is what others can see: topics,
Redis, the health port, exit codes and logs.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import yaml
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis, RedisCluster

from consumer.evaluation import EventView
from consumer.simulate import Signup
from tests.services import ROOT

PERSON = ROOT / "tests" / "profiles" / "person.yaml"
QUICK_SESSIONS = {
    "DEDUP_KAFKA__CONSUMER__SESSION_TIMEOUT_MS": "3000",
    "DEDUP_KAFKA__CONSUMER__HEARTBEAT_INTERVAL_MS": "500",
}
"""So that the group lets a killed member go in seconds, not the 45 of the default."""
SIGNUP = ROOT / "consumer" / "profiles" / "signup.yaml"
PATIENCE_SECONDS = 60.0
NOW_MS = 1_760_000_000_000
DAY = {"browser": "Firefox 120.0", "os": "Linux", "login_times": ["2025-01-06T09:00:00+00:00"]}


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def clean_environment() -> dict[str, str]:
    """This process's environment, without settings that a developer may have there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DEDUP_")}


class Process:
    """A `dedup` process that stays. Standard output and standard error go to files of their own."""

    def __init__(self, environment: Mapping[str, str], folder: Path, *arguments: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "consumer", *arguments],
                env={**clean_environment(), **environment},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self._port: int | None = None

    @property
    def stdout(self) -> str:
        return self._stdout.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Lines of the log; the last line of all may be a message for people."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{") and line.endswith("}")]

    @property
    def port(self) -> int:
        if self._port is None:
            wait_until(lambda: self._started() or self.ended, f"a start; the log is\n{self.stderr}")
            self._port = next((entry["port"] for entry in self.log if entry["event"] == "started"), None)
            assert self._port is not None, self.stderr
        return self._port

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all samples of that name with these labels."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [s for family in families for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    def wait_ready(self) -> "Process":
        def ready() -> bool:
            assert not self.ended, self.stderr
            return self.get("/readyz")[0] == 200

        wait_until(ready, f"ready; the log is\n{self.stderr}")
        return self

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        return self._process.wait(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    def _started(self) -> bool:
        return any(entry["event"] == "started" for entry in self.log)


class Deployment:
    """Names nobody else uses, the processes under them, and what those leave behind."""

    def __init__(self, name: str, servers: str, redis_url: str, folder: Path, profile: Path, **changes: Any) -> None:
        self.name = name
        self.input = f"{name}.in"
        self.feedback = f"{name}.feedback"
        self.vectors = f"vectors.{name}"
        self.folder = folder / name
        self.folder.mkdir()
        self.servers = servers
        self.redis_url = redis_url
        self.environment = {
            "DEDUP_PROFILE": str(self._write_profile(profile, changes)),
            "DEDUP_KAFKA__BOOTSTRAP_SERVERS": servers,
            "DEDUP_REDIS__URL": redis_url,
            "DEDUP_KAFKA__GROUP": name,
            "DEDUP_REDIS__PREFIX": name,
            "DEDUP_TOPICS__FEEDBACK": self.feedback,
            "DEDUP_TOPICS__EVENTS": f"{name}.events",
            "DEDUP_TOPICS__CLUSTERS": f"{name}.clusters",
            "DEDUP_TOPICS__POSSIBLE": f"{name}.possible",
            "DEDUP_STATE__DIRECTORY": str(self.folder / "state"),
            "DEDUP_HTTP__HOST": "127.0.0.1",
            "DEDUP_HTTP__PORT": "0",
        }
        self.processes: list[Process] = []
        self._client = Consumer({**self.clients(), "group.id": f"{name}.reader", **_READER})
        self._producer = Producer({**self.clients(), **_WRITER})

    def clients(self) -> dict[str, str | bool | int]:
        """What clients of the test itself are told."""
        return {"bootstrap.servers": self.servers}

    def _write_profile(self, source: Path, changes: Mapping[str, Any]) -> Path:
        content = {**yaml.safe_load(source.read_text()), "name": self.name, "input": self.input, **changes}
        file = self.folder / "profile.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return file

    def start(self, role: str = "all", **environment: str) -> Process:
        own = self.folder / f"process-{len(self.processes)}"
        process = Process({**self.environment, **environment}, own, "run", "--role", role)
        self.processes.append(process)
        return process

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of this deployment, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "consumer", *arguments],
            env={**clean_environment(), **self.environment, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def close(self) -> None:
        for process in self.processes:
            process.kill()
        self._client.close()
        with self.redis() as client:
            for key in self._keys(client):
                client.delete(key)

    # Kafka

    def send(self, key: str | bytes | None, value: object, timestamp_ms: int = 0, topic: str | None = None) -> None:
        """One message, to the input if nothing else is said; a value that is not bytes or None is written as JSON."""
        content = value if isinstance(value, bytes | None) else orjson.dumps(value)
        self._producer.produce(topic or self.input, content, key, timestamp=timestamp_ms)
        self._producer.poll(0)

    def send_signups(self, records: Sequence[Signup]) -> None:
        for n, record in enumerate(records):
            self.send(record.id, record.value, NOW_MS + n)

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def settle(self) -> None:
        """Wait until all that was sent is through both stages, and readers of what is committed can see it."""
        self.flush()
        self._await("encode", self.input)
        self._await("encode", self.feedback)
        self._await("match", self.vectors)
        wait_until(self._nothing_is_open, "an end of what a killed matcher had begun")

    def _nothing_is_open(self) -> bool:
        """Whether no transaction hides what comes behind it: one of a process that died does, until it times out."""
        everything = Consumer(
            {**self.clients(), "group.id": f"{self.name}.reader", "isolation.level": "read_uncommitted"}
        )
        try:
            topics = [f"{self.name}.{kind}" for kind in ("events", "clusters", "possible")]
            there = self._client.list_topics(timeout=10).topics
            return all(self.ends(t) == self.ends(t, everything) for t in topics if t in there)
        finally:
            everything.close()

    def _await(self, stage: str, topic: str) -> None:
        # the end moves: a matcher writes to the topic that it reads
        wait_until(lambda: self.committed(stage, topic) == self.ends(topic), f"all of {topic} in {stage}")

    def committed(self, stage: str, topic: str) -> dict[int, int]:
        group = f"{self.name}.{self.name}.{stage}"
        asker = Consumer({**self.clients(), "group.id": group})
        try:
            answers = asker.committed(self._partitions(topic), timeout=30)
        finally:
            asker.close()
        return {p.partition: max(0, p.offset) for p in answers}

    def read(self, topic: str) -> list[KafkaMessage]:
        """Everything in a topic that is committed, each partition in its order."""
        partitions = self._partitions(topic)
        left = {p.partition for p in partitions}
        self._client.assign([TopicPartition(topic, p, 0) for p in left])
        messages: list[KafkaMessage] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while left:
            assert time.monotonic() < deadline, f"{topic} could not be read to its end"
            for message in self._client.consume(1000, 0.2):
                error = message.error()
                if error is None:
                    messages.append(message)
                else:
                    # a transaction's marker is behind the last message, so its offset does not tell the end
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    left.discard(message.partition())
        self._client.unassign()
        return messages

    def ends(self, topic: str, client: Consumer | None = None) -> dict[int, int]:
        """As the client sees them: to one that reads what is committed, the first open transaction is the end."""
        asked = client or self._client
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return {p.partition: asked.get_watermark_offsets(p, timeout=10)[1] for p in self._partitions(topic)}
            except KafkaException:  # a topic made a moment ago has no leader yet
                assert time.monotonic() < deadline, f"the ends of {topic} are not known"
                time.sleep(0.1)

    def _partitions(self, topic: str) -> list[TopicPartition]:
        found = self._client.list_topics(topic, timeout=10).topics[topic].partitions
        return [TopicPartition(topic, p) for p in sorted(found)]

    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(value_of(m)) for m in self.read(f"{self.name}.events")]

    def view(self) -> EventView:
        """What a subscriber of the events knows."""
        view = EventView()
        for event in self.events():
            view.apply(event)
        return view

    def states(self) -> dict[str, dict[str, Any] | None]:
        """What compaction will leave of the clusters topic."""
        last = {key_of(m): m.value() for m in self.read(f"{self.name}.clusters")}
        return {key: None if value is None else orjson.loads(value) for key, value in last.items()}

    def dead_letters(self) -> list[KafkaMessage]:
        return self.read(f"{self.input}.dlq")

    # Redis

    def redis(self) -> Redis:
        return Redis.from_url(self.redis_url)

    def assignments(self, scope: str = "default") -> dict[str, str]:
        with self.redis() as client:
            found = client.hgetall(f"{self.name}:{{{self.name}/{scope}}}:assignments")
        return {record.decode(): cid.decode() for record, cid in found.items()}

    def applied(self) -> int:
        """Vectors whose outcome is in Redis, in the scope `default` of partition 0."""
        with self.redis() as client:
            return int(client.hget(f"{self.name}:{{{self.name}/default}}:head", "applied:0") or -1) + 1

    def dump(self) -> bytes:
        """Every key and value of this deployment."""
        with self.redis() as client:
            return b"\n".join(key + b" " + repr(redis_content(client, key)).encode() for key in self._keys(client))

    def _keys(self, client: Any) -> list[bytes]:
        return list(client.scan_iter(f"{self.name}:*", count=1000))


class ClusterDeployment(Deployment):
    """The same, with its state on a Redis Cluster."""

    def redis(self) -> Any:
        return RedisCluster.from_url(self.redis_url)


_READER: dict[str, str | bool | int] = {
    "enable.auto.commit": False,
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
}
_WRITER: dict[str, str | int] = {"partitioner": "murmur2_random", "linger.ms": 2, "message.max.bytes": 17_000_000}


def redis_content(client: Any, key: bytes) -> object:
    kind = client.type(key)
    if kind == b"hash":
        return client.hgetall(key)
    if kind == b"zset":
        return client.zrange(key, 0, -1)
    return client.smembers(key) if kind == b"set" else client.get(key)


def value_of(message: KafkaMessage) -> bytes:
    value = message.value()
    assert value is not None
    return value


def key_of(message: KafkaMessage) -> str:
    key = message.key()
    return key.decode() if isinstance(key, bytes) else str(key)


def headers_of(message: KafkaMessage) -> dict[str, str]:
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return {name: value.decode() if isinstance(value, bytes) else str(value) for name, value in pairs}
