"""What every Delivery must do, over each adapter: at least once and exactly once, in memory and on a real Kafka.

A subscriber here reads what is committed only, as one is told to.
"""

import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from consumer.adapters import kafka_topics
from consumer.adapters.kafka_held import OnRevoked
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_source import KafkaSource
from consumer.adapters.kafka_transactions import KafkaTransactions
from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_transactions import MemoryTransactions
from consumer.delivery import AtLeastOnce
from consumer.errors import BrokerAwayError, BrokerError, FencedError
from consumer.ports import Delivery, Source
from consumer.records import Message, Outgoing
from tests.deliveries import deliver

PATIENCE_SECONDS = 30.0
IN, OUT = "in", "out"


@dataclass
class Kit:
    """An input of one partition and an output of two, on one of the brokers; clients are closed after the test."""

    kind: str
    name: str
    servers: str
    memory: MemoryBroker | None
    closing: ExitStack = field(default_factory=ExitStack)

    @property
    def exactly_once(self) -> bool:
        return "transactions" in self.kind

    def topic(self, name: str) -> str:
        return f"{self.name}-{name}"

    def source(
        self, properties: Mapping[str, str | int] | None = None, on_revoked: OnRevoked | None = None
    ) -> MemorySource | KafkaSource:
        source: MemorySource | KafkaSource
        if self.memory is not None:
            source = MemorySource(self.memory, "group", [self.topic(IN)], on_revoked=on_revoked)
        else:
            protocol = {"group.protocol": "classic"} if "classic" in self.kind else {}
            config = {"bootstrap.servers": self.servers, "log_level": 0, **protocol, **(properties or {})}
            group, topics = f"{self.name}-group", [self.topic(IN)]
            source = KafkaSource(config, group, topics, on_revoked=on_revoked, timeout_seconds=2.0)
        self.closing.callback(source.close)
        return source

    def delivery(self, source: Source, transactional_id: str | None = None) -> Delivery:
        config: dict[str, str | int] = {"bootstrap.servers": self.servers, "log_level": 0}
        if isinstance(source, MemorySource):
            assert self.memory is not None
            if self.exactly_once:
                return MemoryTransactions(self.memory, source)
            return AtLeastOnce(source, MemoryPublisher(self.memory))
        assert isinstance(source, KafkaSource)
        if self.exactly_once:
            made = KafkaTransactions(config, transactional_id or f"{self.name}-{secrets.token_hex(4)}", source)
            self.closing.callback(made.close)
            return made
        return AtLeastOnce(source, KafkaPublisher(config))

    def send(self, count: int) -> None:
        messages = [Outgoing(self.topic(IN), b"k", b"%d" % i, partition=0) for i in range(count)]
        publisher = MemoryPublisher(self.memory) if self.memory else KafkaPublisher({"bootstrap.servers": self.servers})
        publisher.publish(messages)
        publisher.flush()

    def outgoing(self, *values: bytes, topic: str = OUT) -> list[Outgoing]:
        return [Outgoing(self.topic(topic), value, value, partition=n % 2) for n, value in enumerate(values)]

    def seen(self) -> list[bytes]:
        """What a subscriber has read once it is at the end."""
        if self.memory is not None:
            return sorted(m.value or b"" for m in self.memory.messages(self.topic(OUT)))
        config: dict[str, str | bool] = {
            "bootstrap.servers": self.servers,
            "group.id": f"{self.name}-reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
        reader = Consumer(config)
        try:
            reader.assign([TopicPartition(self.topic(OUT), n, 0) for n in range(2)])
            values: list[bytes] = []
            ends = 0
            while ends < 2:
                for message in reader.consume(100, 0.2):
                    if message.error() is None:
                        values.append(bytes(message.value() or b""))
                    else:
                        ends += 1
            return sorted(values)
        finally:
            reader.close()


@pytest.fixture(params=["memory", "memory-transactions", "kafka", "kafka-transactions", "kafka-classic-transactions"])
def kit(request: pytest.FixtureRequest, unique: str) -> Iterator[Kit]:
    kind = request.param
    name = unique[-40:]
    topics = {f"{name}-{IN}": 1, f"{name}-{OUT}": 2}
    if "memory" in kind:
        made = Kit(kind, name, "", MemoryBroker(topics))
    else:
        made = Kit(kind, name, request.getfixturevalue("kafka_servers"), None)
        specs = [kafka_topics.TopicSpec(topic, partitions) for topic, partitions in topics.items()]
        assert {state for _, state in kafka_topics.create({"bootstrap.servers": made.servers}, specs)} == {"created"}
    with made.closing:
        yield made


of_kafka = pytest.mark.parametrize("kit", ["kafka-transactions", "kafka-classic-transactions"], indirect=True)


def take(source: MemorySource | KafkaSource, count: int) -> list[Message]:
    taken: list[Message] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(taken) < count and time.monotonic() < deadline:
        taken += source.poll(count - len(taken), 0.2)
    return taken


def test_messages_are_seen_and_their_input_is_done(kit: Kit) -> None:
    kit.send(5)
    source = kit.source()
    delivery = kit.delivery(source)
    first = take(source, 3)
    assert source.committed(kit.topic(IN), 0) == 0
    confirmed: list[Sequence[bytes]] = []
    deliver(
        delivery,
        kit.outgoing(b"a", b"b"),
        [first[-1].position],
        lambda: confirmed.append(kit.seen() if kit.exactly_once else []),
    )
    assert confirmed == [[]], "asked once, and before anybody saw a thing"
    assert kit.seen() == [b"a", b"b"]
    assert source.committed(kit.topic(IN), 0) == 3
    deliver(delivery, kit.outgoing(b"c"), [])
    deliver(delivery, [], [take(source, 2)[-1].position])
    assert kit.seen() == [b"a", b"b", b"c"]
    assert source.committed(kit.topic(IN), 0) == 5


def test_what_is_not_confirmed_did_not_happen(kit: Kit) -> None:
    def fenced() -> None:
        raise FencedError("another owns it")

    kit.send(2)
    source = kit.source()
    delivery = kit.delivery(source)
    (one, two) = take(source, 2)
    with pytest.raises(FencedError):
        deliver(delivery, kit.outgoing(b"a"), [one.position], fenced)
    assert kit.seen() == []
    assert source.committed(kit.topic(IN), 0) == 0
    deliver(delivery, kit.outgoing(b"b"), [two.position])
    assert kit.seen() == [b"b"]
    assert source.committed(kit.topic(IN), 0) == 2


@of_kafka
def test_what_a_broker_refuses_takes_its_whole_transaction_along(kit: Kit) -> None:
    kit.send(1)
    source = kit.source()
    delivery = kit.delivery(source)
    (message,) = take(source, 1)
    bad = [*kit.outgoing(b"a"), *kit.outgoing(b"b", topic="missing")]
    with pytest.raises(BrokerError, match=r"missing.*does not exist") as caught:
        deliver(delivery, bad, [message.position])
    assert not isinstance(caught.value, BrokerAwayError), "waiting does not help"
    assert kit.seen() == []
    assert source.committed(kit.topic(IN), 0) == 0
    deliver(delivery, kit.outgoing(b"c"), [message.position])
    assert kit.seen() == [b"c"]


@of_kafka
def test_a_member_that_the_group_let_go_commits_nothing(kit: Kit) -> None:
    kit.send(2)
    properties: dict[str, str | int] = {"max.poll.interval.ms": 1500}
    if "classic" in kit.kind:
        properties["session.timeout.ms"] = 1500
    slow = kit.source(properties)
    zombie = kit.delivery(slow)
    (message,) = take(slow, 1)
    time.sleep(3)  # as a process that was stopped, or starved
    successor = kit.source()
    assert take(successor, 1)[0].position == message.position
    with pytest.raises(BrokerAwayError, match="not committed"):
        deliver(zombie, kit.outgoing(b"zombie"), [message.position])
    deliver(kit.delivery(successor), kit.outgoing(b"heir"), [message.position])
    assert kit.seen() == [b"heir"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (gone := slow.gone()):
        assert time.monotonic() < deadline, "it never learns what it lost"
        slow.keep_alive()
    assert set(gone) == {(kit.topic(IN), 0)}


def test_what_is_on_its_way_is_waited_for_while_the_source_calls_back(kit: Kit) -> None:
    """Where the source's client calls back, it answers no other thread."""
    begun = threading.Event()

    def revoked(partitions: Sequence[tuple[str, int]], lost: bool) -> None:
        del partitions, lost
        begun.set()
        delivery.wait()

    source = kit.source(on_revoked=revoked)
    delivery = kit.delivery(source)
    kit.send(2)
    (message,) = take(source, 1)

    def confirm() -> None:
        if isinstance(delivery, KafkaTransactions):  # in its thread
            assert begun.wait(PATIENCE_SECONDS)

    delivery.send(kit.outgoing(b"a"), [message.position], confirm)
    source.close()
    assert kit.seen() == [b"a"]
    assert take(kit.source(), 1)[0].position.offset == 1


@of_kafka
def test_a_successor_waits_for_the_transaction_of_one_that_died(kit: Kit) -> None:
    """So what it reads of the committed offset is how that transaction ended."""
    kit.send(2)
    source = kit.source()
    assert isinstance(source, KafkaSource)
    (message,) = take(source, 1)
    own = f"{kit.name}-instance"
    died = Producer({"bootstrap.servers": kit.servers, "transactional.id": own, "log_level": 0})
    died.init_transactions(10)
    died.begin_transaction()
    died.produce(kit.topic(OUT), b"half")
    died.send_offsets_to_transaction(source.offsets([message.position]), source.group_metadata(), 10)
    with pytest.raises(BrokerAwayError, match="committed offset"):
        source.committed(kit.topic(IN), 0)
    again = kit.delivery(source, own)  # a restart under the same name ends it at once
    assert isinstance(again, KafkaTransactions)
    again.settle()
    assert source.committed(kit.topic(IN), 0) == 0
    deliver(again, kit.outgoing(b"whole"), [message.position])
    assert kit.seen() == [b"whole"]
    with pytest.raises(KafkaException, match="fenced"):
        died.commit_transaction(10)


@of_kafka
def test_a_fenced_client_is_replaced(kit: Kit) -> None:
    """As after an outage longer than transaction.timeout.ms: the broker has ended the transaction."""
    kit.send(1)
    source = kit.source()
    own = f"{kit.name}-instance"
    delivery = kit.delivery(source, own)
    (message,) = take(source, 1)

    def usurp() -> None:
        other = Producer({"bootstrap.servers": kit.servers, "transactional.id": own, "log_level": 0})
        other.init_transactions(10)

    with pytest.raises(BrokerAwayError):
        deliver(delivery, kit.outgoing(b"a"), [message.position], usurp)
    deliver(delivery, kit.outgoing(b"b"), [message.position])
    assert kit.seen() == [b"b"]
