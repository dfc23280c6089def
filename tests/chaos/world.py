"""What a run breaks: three brokers, a Redis with its replica, the service's processes, and a network between them.

Every process has links of its own to each broker and to Redis, so a fault can come between any two of them.
"""

import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis as redis_client
import yaml

from tests.chaos.proxy import Link, Proxy
from tests.chaos.stream import PARTITIONS
from tests.deployment import PERSON, Deployment, Process
from tests.kafka_servers import KafkaCluster, kafka_cluster
from tests.redis_servers import RedisPair, redis_pair

ENCODERS = ("encoder-0", "encoder-1")
MATCHERS = ("matcher-0", "matcher-1")
GUEST = "matcher-2"
"""Comes and goes."""
SETTINGS = {
    "DEDUP_TOPICS__PARTITIONS": str(PARTITIONS),
    "DEDUP_LIMITS__BATCH_RECORDS": "8",
    "DEDUP_STATE__SNAPSHOT_RECORDS": "300",
    "DEDUP_REDIS__TIMEOUT_SECONDS": "2",
    "DEDUP_MODELS__THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "DEDUP_LOG__LEVEL": "info",
}
_RESTART_SECONDS = 0.3
_FOLLOW_SECONDS = 0.1
_STOP_SECONDS = 40.0
"""More than the service's own `limits.drain_seconds`."""


class Theatre(Deployment):
    """A deployment on servers of its own, whose clients keep quiet about brokers that go away."""

    def clients(self) -> dict[str, str | bool | int]:
        return {**super().clients(), "log_level": 0}

    def close(self) -> None:
        """What it wrote goes with its servers."""
        for process in self.processes:
            process.kill()
        self._client.close()


class Slot:
    """A place for one `dedup run` process, which is started again when it ends by itself, as an orchestrator would."""

    def __init__(self, name: str, deployment: Deployment, environment: Mapping[str, str]) -> None:
        self.name = name
        self.role = "encode" if name.startswith("encoder") else "match"
        self.ends: list[str] = []
        """Why processes ended that nobody ended."""
        self.processes: list[Process] = []
        self._deployment = deployment
        self._environment = {**environment, "DEDUP_STATE__DIRECTORY": str(deployment.folder / f"state-{name}")}
        self._wanted = False
        self._lock = threading.Lock()

    def start(self) -> None:
        with self._lock:
            self._wanted = True
            if self.processes and not self.processes[-1].ended:
                return
            self.processes.append(self._deployment.start(self.role, **self._environment))

    def kill(self) -> None:
        with self._lock:
            self._wanted = False
            self.processes[-1].kill()

    def stop(self) -> None:
        """SIGTERM, and wait for the end; one that does not come to it is killed, and that is noted."""
        with self._lock:
            self._wanted = False
            process = self.processes[-1]
        try:
            process.stop(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.ends.append(f"not ended {_STOP_SECONDS:.0f} s after SIGTERM")
            process.kill()

    def pause(self) -> None:
        self.processes[-1].pause()

    def resume(self) -> None:
        self.processes[-1].resume()

    def look_after(self) -> None:
        """Start a new process where one ended unasked."""
        with self._lock:
            if not self._wanted or not self.processes[-1].ended:
                return
            self.ends.append(_reason(self.processes[-1]))
            time.sleep(_RESTART_SECONDS)
            self.processes.append(self._deployment.start(self.role, **self._environment))

    def log(self, event: str) -> list[dict[str, Any]]:
        """Lines of all its processes."""
        return [line for process in self.processes for line in process.log if line["event"] == event]


def _reason(process: Process) -> str:
    said = [str(line["reason"]) for line in process.log if line["event"] == "stopped"]
    return said[0] if said else process.stderr[-300:]


@dataclass(slots=True)
class World:
    """Everything that a fault may touch."""

    kafka: KafkaCluster
    redis: RedisPair
    proxy: Proxy
    deployment: Deployment
    slots: dict[str, Slot] = field(default_factory=dict)

    def links(self, *names: str) -> list[Link]:
        """Links whose name begins so: `matcher-0/kafka`, `matcher-0/redis`, `encoder-1/`."""
        return [link for name, link in self.proxy.links.items() if name.startswith(names)]

    def start(self) -> None:
        """Make the topics, then start all but the guest."""
        made = self.deployment.run("topics", "create")
        assert made.returncode == 0, made.stderr
        for name in (*ENCODERS, *MATCHERS):
            self.slots[name].start()
        for name in (*ENCODERS, *MATCHERS):
            self.slots[name].processes[-1].wait_ready()

    def stop(self) -> None:
        """End every process in order; matchers leave their snapshots."""
        for slot in self.slots.values():
            if slot.processes and not slot.processes[-1].ended:
                slot.stop()
        self.deployment.redis_url = f"redis://{self.redis.primary()}/0"


class Minder:
    """A thread that looks after the slots and turns the links to Redis to whoever is the primary."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._mind, name="minder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _mind(self) -> None:
        links = [link for link in self._world.proxy.links.values() if link.name.endswith("/redis")]
        while not self._end.wait(_FOLLOW_SECONDS):
            try:
                primary = self._world.redis.primary()
            except redis_client.RedisError:
                continue
            for link in links:
                link.turn_to(primary)
            for slot in self._world.slots.values():
                slot.look_after()


def profile_changes() -> dict[str, Any]:
    """What makes the small profile one with scopes."""
    fields = yaml.safe_load(PERSON.read_text())["fields"]
    return {"fields": {**fields, "country": {"type": "text"}}, "scope": "country"}


@contextmanager
def world(name: str, folder: Path, brokers: int = 3, **settings: str) -> Iterator[World]:
    """Servers, links and a deployment called `name`; nothing of it runs yet but the servers."""
    people = (*ENCODERS, *MATCHERS, GUEST)
    doors = {who: who.upper().replace("-", "") for who in people}
    of_door = {door: who for who, door in doors.items()}
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy())

        def advertise(door_and_broker: str, where: str) -> str:
            door, broker = door_and_broker.split("/")
            return proxy.link(f"{of_door[door]}/kafka/{broker}", where).address

        redis = stack.enter_context(redis_pair())
        kafka = stack.enter_context(kafka_cluster(brokers, list(doors.values()), advertise))
        deployment = new_deployment(name, kafka.address, redis.primary(), folder, settings)
        stack.callback(deployment.close)
        made = World(kafka, redis, proxy, deployment)
        for who in people:
            link = proxy.link(f"{who}/redis", redis.primary())
            # One matcher keeps its partitions over a restart, as of a StatefulSet; the others are new members every time.
            named = {"DEDUP_KAFKA__INSTANCE": who} if who == MATCHERS[0] else {}
            told = {
                **named,
                "DEDUP_KAFKA__BOOTSTRAP_SERVERS": kafka.doors[doors[who]],
                "DEDUP_REDIS__URL": f"redis://{link.address}/0",
            }
            made.slots[who] = Slot(who, deployment, told)
        yield made


def new_deployment(name: str, servers: str, redis: str, folder: Path, settings: Mapping[str, str]) -> Deployment:
    folder.mkdir(parents=True, exist_ok=True)
    made = Theatre(name, servers, f"redis://{redis}/0", folder, PERSON, **profile_changes())
    made.environment |= {**SETTINGS, **settings}
    return made
