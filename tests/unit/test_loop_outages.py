"""The loop where a service is away or another member took over: what it waits for, makes again, and does not commit."""

import threading
from collections.abc import Sequence

import pytest

from consumer.adapters.memory import MemoryPublisher, MemorySource
from consumer.adapters.memory_transactions import MemoryTransactions
from consumer.delivery import AtLeastOnce
from consumer.errors import BrokerError, FencedError, StoreError
from consumer.loop import Loop
from consumer.records import Message
from tests.loops import LIMITS, OUT, TOPIC, Bench, Echo, until


def test_what_could_not_be_published_is_not_committed_and_comes_again() -> None:
    class FailingPublisher(MemoryPublisher):
        def flush(self) -> None:
            raise BrokerError("the broker did not take it")

    bench = Bench(stage := Echo())
    bench.send(b"1")
    with pytest.raises(BrokerError):
        Loop(bench.source, stage, AtLeastOnce(bench.source, FailingPublisher(bench.broker)), LIMITS).turn()
    assert bench.committed == {}
    assert stage.deliveries == 0
    bench.source.close()
    source = MemorySource(bench.broker, "group", [TOPIC])
    assert Loop(source, stage, AtLeastOnce(source, bench.publisher), LIMITS).turn() == 1
    assert stage.batches == [[b"1"], [b"1"]]


def test_a_broker_that_is_away_is_waited_for_and_the_batch_made_again() -> None:
    bench = Bench(stage := Echo())
    bench.send(b"1")
    bench.publisher.away = 2
    assert bench.loop.turn() == 1
    assert stage.batches == [[b"1"]] * 3
    assert bench.committed == {(TOPIC, 0): 1}


def test_what_another_member_took_while_a_service_was_away_is_dropped() -> None:
    joined: list[MemorySource] = []

    class Outage(Echo):
        def process(self, messages: Sequence[Message]) -> None:
            if not joined:  # another member takes every second partition, once it is let go
                joined.append(MemorySource(bench.broker, "group", [TOPIC]))
                self.faults = [StoreError("redis is away")]
            super().process(messages)

    bench = Bench(stage := Outage())
    bench.send(b"mine", partition=0)
    bench.send(b"theirs", partition=1)
    assert bench.loop.turn() == 2
    assert stage.batches == [[b"mine", b"theirs"], [b"mine"]]
    assert bench.values(OUT) == [b"mine"]
    assert bench.committed == {(TOPIC, 0): 1}
    assert [m.value for m in joined[0].poll(10, 0.0)] == [b"theirs"]


def test_a_fenced_stage_commits_nothing_however_late_it_learns_of_it() -> None:
    bench = Bench(stage := Echo())
    bench.send(b"1")
    delivery = MemoryTransactions(bench.broker, bench.source)

    def fenced() -> None:
        raise FencedError("another owns it")

    stage.on_confirm = fenced
    with pytest.raises(FencedError):
        Loop(bench.source, stage, delivery, LIMITS).turn()
    assert bench.committed == {}
    assert bench.values(OUT) == []


def test_a_service_that_is_away_is_waited_for() -> None:
    stage = Echo([StoreError("redis is away")], [StoreError("redis is away again")])
    bench = Bench(stage)
    bench.send(b"1", b"2")
    seen: list[str] = []
    stage.on_delivered = lambda: seen.append(bench.loop.pulse.waiting)
    assert bench.loop.turn() == 2
    assert stage.batches == [[b"1", b"2"], [b"1", b"2"], []], "the same batch again; none where it was through"
    assert bench.values(OUT) == [b"1", b"2"], "sent once"
    assert stage.deliveries == 2
    assert bench.loop.pulse.waiting == ""
    assert bench.committed == {(TOPIC, 0): 2}


def test_while_it_waits_it_lives_and_says_so() -> None:
    bench = Bench(Echo([StoreError("redis is away")] * 1000))
    bench.send(b"1")
    bench.loop.pulse.beat = 0
    thread = threading.Thread(target=bench.loop.run)
    thread.start()
    try:
        until(lambda: bench.loop.pulse.waiting == "redis is away")
        assert bench.loop.pulse.beat > 0
    finally:
        bench.stop.set()
        thread.join(5)
    assert not thread.is_alive(), "told to stop, it does not wait for the service"
    assert bench.committed == {}
    assert bench.values(OUT) == []


def test_a_fenced_stage_ends_the_loop_and_commits_nothing() -> None:
    bench = Bench(stage := Echo([FencedError("another owns it")]))
    bench.send(b"1")
    with pytest.raises(FencedError):
        bench.loop.run()
    assert bench.committed == {}
    assert bench.values(OUT) == []
    assert stage.deliveries == 0
