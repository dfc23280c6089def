"""What every Source must do, over each adapter: in memory, the embedded broker, a real Kafka."""

import time

import pytest

from consumer.adapters.embedded import EMBEDDED_PARTITIONS
from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.errors import BrokerError
from consumer.records import Message, Outgoing
from tests.broker_kits import Kit, take, values


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
