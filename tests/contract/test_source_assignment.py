"""What every Source says of partitions that come, go and are lost, over each adapter."""

import time
from collections.abc import Mapping, Sequence

import pytest

from consumer.adapters.embedded import EMBEDDED_PARTITIONS
from consumer.records import Message
from tests.broker_kits import PATIENCE_SECONDS, Kit, Partition, take, values


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
