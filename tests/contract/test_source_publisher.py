"""What every Source and Publisher must do, over each adapter: in memory, the embedded broker, a real Kafka."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from consumer.adapters import kafka_topics
from consumer.adapters.embedded import EMBEDDED_CLIENT, EMBEDDED_PARTITIONS, embedded_broker
from consumer.adapters.kafka_publisher import KafkaPublisher
from consumer.adapters.kafka_source import KafkaSource
from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.errors import BrokerError
from consumer.records import Message, Outgoing

Partition = tuple[str, int]
Source = KafkaSource | MemorySource
Publisher = KafkaPublisher | MemoryPublisher

PATIENCE_SECONDS = 30.0
TOO_LARGE = 20 * 1024 * 1024


@dataclass
class Kit:
    """A topic of four partitions on one of the brokers, and clients of it that are closed after the test."""

    name: str
    topic: str
    properties: Mapping[str, str | int | float | bool]
    memory: MemoryBroker | None
    closing: ExitStack = field(default_factory=ExitStack)

    def source(
        self,
        on_assigned: Callable[[Sequence[Partition]], Mapping[Partition, int]] | None = None,
        on_revoked: Callable[[Sequence[Partition], bool], None] | None = None,
        more_topics: Sequence[str] = (),
    ) -> Source:
        source: Source
        topics = [self.topic, *more_topics]
        if self.memory is not None:
            source = MemorySource(self.memory, "group", topics, on_assigned, on_revoked)
        else:
            source = KafkaSource(self.properties, f"{self.topic}-group", topics, on_assigned, on_revoked)
        self.closing.callback(source.close)
        return source

    def publisher(self) -> Publisher:
        if self.memory is not None:
            return MemoryPublisher(self.memory)
        servers = self.properties["bootstrap.servers"]
        publisher = KafkaPublisher({"bootstrap.servers": servers, "log_level": 0})
        self.closing.callback(publisher.close)
        return publisher

    def send(self, count: int, partition: int | None = None) -> None:
        publisher = self.publisher()
        publisher.publish(
            [Outgoing(self.topic, b"k%d" % (i % 7), b"%d" % i, partition=partition) for i in range(count)]
        )
        publisher.flush()

    def another_topic(self) -> str:
        """A second topic, of as many partitions."""
        name = f"{self.topic}-2"
        if self.memory is not None:
            self.memory.create(name, EMBEDDED_PARTITIONS)
        elif self.name == "embedded":
            KafkaPublisher(properties_of_producer(self.properties)).partitions(name)
        else:
            spec = kafka_topics.TopicSpec(name, EMBEDDED_PARTITIONS)
            assert kafka_topics.create(properties_of_producer(self.properties), [spec]) == [(name, "created")]
        return name


@pytest.fixture(scope="module")
def embedded_servers() -> Iterator[str]:
    with embedded_broker() as servers:
        yield servers


@pytest.fixture(params=["memory", "embedded", "kafka", "kafka-classic"])
def kit(request: pytest.FixtureRequest, unique: str) -> Iterator[Kit]:
    name = request.param
    memory = MemoryBroker({unique: EMBEDDED_PARTITIONS}) if name == "memory" else None
    properties: dict[str, str | int | float | bool] = {"log_level": 0}
    if name == "embedded":
        properties |= {"bootstrap.servers": request.getfixturevalue("embedded_servers"), **EMBEDDED_CLIENT}
        KafkaPublisher(properties_of_producer(properties)).partitions(unique)
    elif name != "memory":
        properties["bootstrap.servers"] = request.getfixturevalue("kafka_servers")
        if name == "kafka":
            properties["group.protocol"] = "consumer"
        spec = kafka_topics.TopicSpec(unique, EMBEDDED_PARTITIONS, config={"max.message.bytes": "16777216"})
        assert kafka_topics.create(properties_of_producer(properties), [spec]) == [(unique, "created")]
    made = Kit(name, unique, properties, memory)
    with made.closing:
        yield made


def properties_of_producer(properties: Mapping[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    return {key: value for key, value in properties.items() if key in {"bootstrap.servers", "log_level"}}


def take(source: Source, count: int, batch: int = 500) -> list[Message]:
    """Poll until `count` messages came, then once more, for what should not be there."""
    taken: list[Message] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(taken) < count and time.monotonic() < deadline:
        taken += source.poll(batch, 0.2)
    return [*taken, *source.poll(batch, 0.2)]


def values(messages: Sequence[Message]) -> list[int]:
    return sorted(int(m.value or b"-1") for m in messages)


def last_positions(messages: Sequence[Message]) -> dict[Partition, int]:
    return {(m.position.topic, m.position.partition): m.position.offset for m in messages}


def test_order_is_kept_per_partition_and_a_key_stays_in_one(kit: Kit) -> None:
    kit.send(1000)
    messages = take(kit.source(), 1000, batch=64)
    assert values(messages) == list(range(1000))
    homes: dict[bytes | None, set[int]] = {}
    for number in range(EMBEDDED_PARTITIONS):
        here = [m for m in messages if m.position.partition == number]
        assert [m.position.offset for m in here] == list(range(len(here)))
        assert [int(m.value or b"") for m in here] == values(here)
        for message in here:
            homes.setdefault(message.key, set()).add(number)
    assert all(len(home) == 1 for home in homes.values())


def test_a_poll_returns_no_more_than_it_was_asked_for(kit: Kit) -> None:
    kit.send(50, partition=0)
    source = kit.source()
    sizes: list[int] = []
    while sum(sizes) < 50:
        sizes.append(len(source.poll(7, 1.0)))
    assert max(sizes) == 7


def test_uncommitted_messages_come_again_and_committed_ones_do_not(kit: Kit) -> None:
    kit.send(20, partition=1)
    first = kit.source()
    messages = take(first, 20)
    first.commit([m.position for m in messages[:12]])
    first.close()
    again = kit.source()
    assert values(take(again, 8)) == list(range(12, 20))
    again.commit([messages[-1].position])
    again.close()
    assert take(kit.source(), 0) == []


def test_two_topics_are_read_committed_and_counted_apart(kit: Kit) -> None:
    other = kit.another_topic()
    kit.send(20, partition=1)
    publisher = kit.publisher()
    publisher.publish([Outgoing(other, b"k", b"%d" % i, partition=1) for i in range(100, 110)])
    publisher.flush()
    first = kit.source(more_topics=[other])
    messages = take(first, 30, batch=4)
    here, there = ([m for m in messages if m.position.topic == topic] for topic in (kit.topic, other))
    assert values(here) == list(range(20))
    assert values(there) == list(range(100, 110))
    assert {topic for topic, _ in first.lag()} == {kit.topic, other}
    assert sum(first.lag().values()) == 0
    first.commit([here[4].position, there[-1].position])
    first.close()
    again = kit.source(more_topics=[other])
    assert values(take(again, 15)) == list(range(5, 20))


def test_commit_of_a_partition_not_held_is_left_out(kit: Kit) -> None:
    kit.send(3, partition=0)
    first = kit.source()
    messages = take(first, 3)
    first.close()
    second = kit.source()
    second.commit([m.position for m in messages])
    assert values(take(second, 3)) == [0, 1, 2]


def test_on_assigned_chooses_where_to_start(kit: Kit) -> None:
    for number in range(EMBEDDED_PARTITIONS):
        kit.send(10, partition=number)
    first = kit.source()
    first.commit([m.position for m in take(first, 40)])
    first.close()
    starts = {(kit.topic, 0): 4, (kit.topic, 1): -2, (kit.topic, 2): 10}
    source = kit.source(on_assigned=lambda came: {p: starts[p] for p in came if p in starts})
    messages = take(source, 16)
    assert [m.position.offset for m in messages if m.position.partition == 0] == [4, 5, 6, 7, 8, 9]
    assert [m.position.offset for m in messages if m.position.partition == 1] == list(range(10))
    assert {m.position.partition for m in messages} == {0, 1}


def test_an_error_of_on_assigned_surfaces_and_the_partitions_wait_until_it_succeeds(kit: Kit) -> None:
    kit.send(8)
    calls = []

    def on_assigned(came: Sequence[Partition]) -> Mapping[Partition, int]:
        calls.append(sorted(came))
        if len(calls) < 3:
            raise LookupError("store away")
        return dict.fromkeys(came, -2)

    source = kit.source(on_assigned=on_assigned)
    for _ in range(2):
        with pytest.raises(LookupError, match="store away"):
            take(source, 8)
    assert values(take(source, 8)) == list(range(8))
    assert calls == [[(kit.topic, n) for n in range(EMBEDDED_PARTITIONS)]] * 3


def test_an_error_of_on_assigned_loses_nothing_of_the_partitions_already_held(kit: Kit) -> None:
    fail = 0

    def on_assigned(_came: Sequence[Partition]) -> Mapping[Partition, int]:
        nonlocal fail
        fail -= 1
        if fail >= 0:
            raise LookupError("store away")
        return {}

    first, second = kit.source(on_assigned), kit.source()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (len(first.lag()) == len(second.lag()) == 2) and time.monotonic() < deadline:
        first.poll(10, 0.1)
        second.poll(10, 0.1)
    for number in range(EMBEDDED_PARTITIONS):
        kit.send(1000, partition=number)
    fail = 2
    second.close()
    messages: list[Message] = []
    while len(messages) < 4000 and time.monotonic() < deadline:
        try:
            messages += first.poll(3, 0.2)
        except LookupError:
            continue
    assert fail < 0
    for number in range(EMBEDDED_PARTITIONS):
        assert [m.position.offset for m in messages if m.position.partition == number] == list(range(1000))


def test_partitions_lost_to_a_slow_batch_are_said_to_be_lost_and_come_again(kit: Kit) -> None:
    if kit.name not in {"kafka", "kafka-classic"}:
        pytest.skip("only a real broker expels a slow member")
    kit.properties = {**kit.properties, "max.poll.interval.ms": 1500}
    if kit.name == "kafka-classic":
        kit.properties = {**kit.properties, "session.timeout.ms": 1500}
    losses = []
    kit.send(5, partition=0)
    source = kit.source(on_revoked=lambda gone, lost: losses.append((len(gone), lost)))
    messages = take(source, 5)
    time.sleep(3)
    assert values(take(source, 5)) == list(range(5))
    assert losses == [(EMBEDDED_PARTITIONS, True)]
    source.commit([m.position for m in messages])


def test_an_error_of_on_revoked_surfaces_from_close(kit: Kit) -> None:
    def on_revoked(_gone: Sequence[Partition], _lost: bool) -> None:
        raise LookupError("store away")

    kit.send(1)
    source = kit.source(on_revoked=on_revoked)
    take(source, 1)
    with pytest.raises(LookupError, match="store away"):
        source.close()


def test_partitions_move_to_a_second_member_and_back(kit: Kit) -> None:
    held: set[Partition] = set()
    losses = []

    def on_assigned(came: Sequence[Partition]) -> Mapping[Partition, int]:
        held.update(came)
        return {}

    def on_revoked(gone: Sequence[Partition], lost: bool) -> None:
        losses.append(lost)
        held.difference_update(gone)
        # What was done before the partitions go can be committed here: the next owner does not repeat it.
        first.commit([m.position for m in messages])

    kit.send(40)
    first = kit.source(on_assigned, on_revoked)
    messages = take(first, 40)
    assert len(held) == EMBEDDED_PARTITIONS
    second = kit.source()
    repeated: list[Message] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (len(held) == 2 and len(second.lag()) == 2) and time.monotonic() < deadline:
        first.poll(10, 0.1)
        repeated += second.poll(10, 0.1)
    assert len(held) == 2
    assert repeated == []
    assert losses
    assert not any(losses)
    for number in range(EMBEDDED_PARTITIONS):
        kit.send(10, partition=number)
    by_first = by_second = 0
    while by_first + by_second < 40 and time.monotonic() < deadline:
        by_first += len(first.poll(10, 0.1))
        by_second += len(second.poll(10, 0.1))
    assert by_first
    assert by_second
    second.close()
    while len(held) < EMBEDDED_PARTITIONS and time.monotonic() < deadline:
        first.poll(10, 0.1)
    assert len(held) == EMBEDDED_PARTITIONS


def test_all_of_a_message_makes_the_round_trip(kit: Kit) -> None:
    headers = {"trace": b"\x00\x01", "empty": b""}
    publisher = kit.publisher()
    publisher.publish(
        [
            Outgoing(kit.topic, b"k\xff", b"\x00v", headers, partition=2, timestamp_ms=1_700_000_000_123),
            Outgoing(kit.topic, b"erased", None, partition=2),
            Outgoing(kit.topic, None, b"", partition=2),
        ]
    )
    publisher.flush()
    now_ms = time.time() * 1000
    full, erased, keyless = take(kit.source(), 3)
    assert (full.key, full.value, dict(full.headers)) == (b"k\xff", b"\x00v", headers)
    assert full.timestamp_ms == 1_700_000_000_123
    assert full.position.partition == 2
    assert (erased.key, erased.value, dict(erased.headers)) == (b"erased", None, {})
    assert abs(erased.timestamp_ms - now_ms) < 10_000
    assert (keyless.key, keyless.value) == (None, b"")


def test_a_message_too_large_is_an_error_without_its_payload(kit: Kit) -> None:
    publisher = kit.publisher()

    def publish() -> None:
        publisher.publish([Outgoing(kit.topic, b"k", b"x" * TOO_LARGE)])
        publisher.flush()

    with pytest.raises(BrokerError, match=kit.topic) as caught:
        publish()
    assert "xxxx" not in str(caught.value)
    publisher.publish([Outgoing(kit.topic, b"k", b"1")])
    publisher.flush()
    assert values(take(kit.source(), 1)) == [1]


def test_a_failed_delivery_is_raised_by_flush_once(kit: Kit) -> None:
    if kit.name != "kafka":
        pytest.skip("only a real broker has a limit below the client's")
    spec = kafka_topics.TopicSpec(f"{kit.topic}-small", 1, config={"max.message.bytes": "1000"})
    kafka_topics.create(properties_of_producer(kit.properties), [spec])
    publisher = kit.publisher()
    publisher.publish([Outgoing(spec.name, b"k", os.urandom(5000))])
    with pytest.raises(BrokerError, match=f"{spec.name}.*too large"):
        publisher.flush()
    publisher.flush()


def test_partitions_are_counted(kit: Kit) -> None:
    assert kit.publisher().partitions(kit.topic) == EMBEDDED_PARTITIONS


def test_a_missing_topic_is_named(kit: Kit) -> None:
    if kit.name == "embedded":
        pytest.skip("the embedded broker makes every topic that is named")
    kit.topic += "-missing"
    with pytest.raises(BrokerError, match=kit.topic):
        kit.publisher().partitions(kit.topic)

    def consume() -> None:
        take(kit.source(), 1)

    with pytest.raises(BrokerError, match=f"{kit.topic}.*create"):
        consume()


def test_a_message_is_there_soon_after_it_was_published(kit: Kit) -> None:
    source, publisher = kit.source(), kit.publisher()
    publisher.publish([Outgoing(kit.topic, b"k", b"0")])
    publisher.flush()
    take(source, 1)
    seconds = []
    for number in range(30):
        started = time.perf_counter()
        publisher.publish([Outgoing(kit.topic, b"k", b"%d" % number)])
        assert len(source.poll(512, 5.0)) == 1
        seconds.append(time.perf_counter() - started)
    # Half a second would mean that a fetch or a poll is waited out; shared cores are given the rest.
    assert sorted(seconds)[15] < 0.1


def test_lag_and_high_watermark_count_what_is_left(kit: Kit) -> None:
    kit.send(30, partition=3)
    source = kit.source()
    taken: list[Message] = []
    while not taken:
        taken += source.poll(10, 0.2)
    assert source.high_watermark(kit.topic, 3) == 30
    assert source.position(kit.topic, 3) == len(taken)
    assert source.lag()[kit.topic, 3] == 30 - len(taken)
    take(source, 30 - len(taken))
    assert source.lag()[kit.topic, 3] == 0
    assert sum(source.lag().values()) == 0


def test_an_empty_poll_waits_as_long_as_it_was_told(kit: Kit) -> None:
    source = kit.source()
    take(source, 0)
    started = time.monotonic()
    assert source.poll(10, 0.3) == []
    assert 0.25 < time.monotonic() - started < 1.0


def test_closing_twice_is_allowed(kit: Kit) -> None:
    source = kit.source()
    source.close()
    with pytest.raises(BrokerError, match="closed"):
        source.poll(1, 0.0)
    source.close()


def test_memory_drops_what_every_group_committed() -> None:
    broker = MemoryBroker({"t": 1}, retain=False)
    one, two = MemorySource(broker, "one", ["t"]), MemorySource(broker, "two", ["t"])
    MemoryPublisher(broker).publish([Outgoing("t", b"k", b"%d" % n) for n in range(10)])
    one.commit([m.position for m in one.poll(10, 0.0)])
    assert len(broker.messages("t")) == 10
    two.commit([m.position for m in two.poll(6, 0.0)])
    assert values(broker.messages("t")) == [6, 7, 8, 9]
    assert values(two.poll(10, 0.0)) == [6, 7, 8, 9]
    assert values(broker.drain("t")) == [6, 7, 8, 9]
    assert broker.messages("t") == []
    assert one.high_watermark("t", 0) == 10
