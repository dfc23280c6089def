"""A Kafka of several brokers, for tests that take brokers away one at a time.

Every broker is a KRaft controller too, so a majority has to live. Clients come in through doors: listeners whose
advertised addresses a test may put a proxy in front of.
"""

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.services import Server, _format_storage, _free_port, java_program, kafka_jars

Advertise = Callable[[str, str], str]
"""(name of a door and broker, its real address) → the address that clients are told."""


@dataclass(frozen=True, slots=True)
class KafkaCluster:
    """`address` and `doors` (by name) are bootstrap servers; `address` leads straight to the brokers."""

    brokers: Sequence[Server]
    address: str
    doors: Mapping[str, str]


@contextmanager
def kafka_cluster(
    brokers: int = 3, doors: Sequence[str] = (), advertise: Advertise = lambda _, address: address
) -> Iterator[KafkaCluster]:
    """Topics have a replica on every broker, and take a message that all but one have."""
    run = [
        *(java_program(), "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
        *("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{kafka_jars()}/*"),
    ]
    ids = range(1, brokers + 1)
    controllers = {n: f"127.0.0.1:{_free_port()}" for n in ids}
    listening = {door: {n: f"127.0.0.1:{_free_port()}" for n in ids} for door in ("DIRECT", *doors)}
    told = {door: {n: advertise(f"{door}/{n}", where) for n, where in listening[door].items()} for door in doors}
    told["DIRECT"] = listening["DIRECT"]
    address = ",".join(told["DIRECT"].values())
    cluster_id = uuid.uuid4().hex[:22]
    with tempfile.TemporaryDirectory(prefix="dedup-kafka-cluster-") as root, ExitStack() as stack:
        servers: list[Server] = []
        for n in ids:
            folder = Path(root) / str(n)
            folder.mkdir()
            properties, log = folder / "server.properties", folder / "kafka.log"
            properties.write_text(_properties(n, controllers, listening, told, folder))
            _format_storage(run, properties, log, cluster_id)
            here = told["DIRECT"][n]
            command = [*run, "kafka.Kafka", str(properties)]
            servers.append(Server(here, command, log, partial(_is_member, here, brokers)))
            stack.callback(servers[-1].kill)
        for server in servers:
            server.launch()
        for server in servers:
            server.await_ready()
        yield KafkaCluster(servers, address, {door: ",".join(told[door].values()) for door in doors})


def _properties(
    node: int,
    controllers: Mapping[int, str],
    listening: Mapping[str, Mapping[int, str]],
    told: Mapping[str, Mapping[int, str]],
    folder: Path,
) -> str:
    doors = list(listening)
    replicas = len(controllers)
    return _PROPERTIES.format(
        node=node,
        folder=folder,
        replicas=replicas,
        least=max(1, replicas - 1),
        voters=",".join(f"{n}@{where}" for n, where in controllers.items()),
        listeners=",".join([*(f"{d}://{listening[d][node]}" for d in doors), f"CONTROLLER://{controllers[node]}"]),
        advertised=",".join(f"{d}://{told[d][node]}" for d in doors),
        protocols=",".join(f"{d}:PLAINTEXT" for d in (*doors, "CONTROLLER")),
    )


def _is_member(address: str, brokers: int) -> bool:
    """Whether the broker answers and sees a majority."""
    try:
        seen = AdminClient({"bootstrap.servers": address, "log_level": 0}).list_topics(timeout=2).brokers
    except KafkaException:
        return False
    return len(seen) > brokers // 2 and address in {f"{b.host}:{b.port}" for b in seen.values()}


_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=DIRECT
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map={protocols}
log.dirs={folder}/data
num.network.threads=1
num.io.threads=4

auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={least}
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
replica.lag.time.max.ms=4000
leader.imbalance.check.interval.seconds=10

offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=6
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={least}
transaction.state.log.num.partitions=6
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={least}

# A broker that is gone, and a consumer that is gone, are let go in seconds, not the 9 and 45 of production.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
controller.quorum.election.timeout.ms=600
controller.quorum.fetch.timeout.ms=1500
group.coordinator.rebalance.protocols=classic,consumer
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=3000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
"""
