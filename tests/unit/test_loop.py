"""The loop over a broker in memory, with stages that behave as stages may."""

import threading
from collections.abc import Sequence

import pytest

from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.delivery import AtLeastOnce
from consumer.encode import EncodeStage
from consumer.errors import TooManyRejectsError
from consumer.letters.dead_letters import dead_letter
from consumer.loop import Limits, Loop, Result, last_positions
from consumer.records import Outgoing, Position, Rejected
from tests.factories import NOW_MS, encoder_set, message, position, signup
from tests.loops import LETTERS, LIMITS, OUT, TOPIC, Bench, Echo, until


def test_a_turn_takes_a_batch_and_gives_what_the_stage_made() -> None:
    bench = Bench(stage := Echo())
    bench.send(*(b"%d" % i for i in range(12)))
    assert [bench.loop.turn() for _ in range(3)] == [10, 2, 0]
    assert bench.values(OUT) == [b"%d" % i for i in range(12)]
    assert [len(batch) for batch in stage.batches] == [10, 2, 0]
    assert stage.deliveries == 3
    assert bench.committed == {(TOPIC, 0): 12}


def test_an_empty_batch_may_still_have_something_to_say() -> None:
    class Talkative(Echo):
        def result(self) -> Result:
            return Result([Outgoing(OUT, b"k", b"left over from before")])

    bench = Bench(Talkative())
    assert bench.loop.turn() == 0
    assert bench.values(OUT) == [b"left over from before"]
    assert bench.committed == {}


def test_a_dead_letter_keeps_the_bytes_and_says_where_they_came_from() -> None:
    letter = dead_letter(
        Rejected(message(b"\xff", b"\xfe", offset=7, partition=3, headers={"line": b"9"}), "encode", "não")
    )
    assert (letter.topic, letter.key, letter.value, letter.partition) == (LETTERS, b"\xfe", b"\xff", None)
    assert letter.headers == {
        "line": b"9",
        "dedup-stage": b"encode",
        "dedup-reason": "não".encode(),
        "dedup-topic": b"persons",
        "dedup-partition": b"3",
        "dedup-offset": b"7",
        "dedup-timestamp": str(NOW_MS).encode(),
        "dedup-payload-sha256": b"a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89",
    }


def test_the_stream_goes_on_past_dead_letters() -> None:
    bench = Bench(Echo())
    bench.send(b"bad", b"1", b"bad", b"2")
    assert bench.loop.turn() == 4
    assert bench.values(OUT) == [b"1", b"2"]
    letters = bench.broker.messages(LETTERS)
    assert [m.value for m in letters] == [b"bad", b"bad"]
    assert [m.headers["dedup-offset"] for m in letters] == [b"0", b"2"]
    assert bench.committed == {(TOPIC, 0): 4}


def test_the_real_encode_stage_in_the_loop() -> None:
    broker = MemoryBroker({TOPIC: 1, "vectors.person": 3, LETTERS: 1})
    publisher, source = MemoryPublisher(broker), MemorySource(broker, "encode", [TOPIC])
    inputs = [message(signup(), "a"), message(b"{", "b"), message(None, "c")]
    publisher.publish([Outgoing(TOPIC, m.key, m.value) for m in inputs])
    loop = Loop(source, EncodeStage(encoder_set(), 3), AtLeastOnce(source, publisher), LIMITS)
    assert loop.turn() == 3
    assert sorted(m.key or b"" for m in broker.messages("vectors.person")) == [b"a", b"c", b"c", b"c"]
    (letter,) = broker.messages(LETTERS)
    assert (letter.key, letter.value, letter.headers["dedup-stage"]) == (b"b", b"{", b"encode")
    assert loop.pulse.ready


def test_nothing_is_committed_before_it_was_published() -> None:
    steps: list[str] = []

    class NotedPublisher(MemoryPublisher):
        def publish(self, messages: Sequence[Outgoing]) -> None:
            steps.append("publish")
            super().publish(messages)

        def flush(self) -> None:
            steps.append("flush")

    class NotedSource(MemorySource):
        def commit(self, positions: Sequence[Position]) -> None:
            steps.append("commit")
            super().commit(positions)

    broker = MemoryBroker({TOPIC: 1, OUT: 1, LETTERS: 1})
    MemoryPublisher(broker).publish([Outgoing(TOPIC, b"k", b"1")])
    stage = Echo()
    stage.on_delivered = lambda: steps.append("delivered")
    stage.on_confirm = lambda: steps.append("confirm")
    source = NotedSource(broker, "group", [TOPIC])
    Loop(source, stage, AtLeastOnce(source, NotedPublisher(broker)), LIMITS).turn()
    assert steps == ["confirm", "publish", "flush", "commit", "delivered"]


def test_run_ends_after_what_is_in_hand() -> None:
    bench = Bench(stage := Echo())
    stage.on_delivered = bench.stop.set
    bench.send(*[b"x"] * 35)
    bench.loop.run()
    assert [len(batch) for batch in stage.batches] == [10, 10], "the second while the first was on its way"
    assert len(bench.values(OUT)) == 20
    assert bench.committed == {(TOPIC, 0): 20}


def test_run_does_nothing_when_already_stopped() -> None:
    bench = Bench(stage := Echo())
    bench.stop.set()
    bench.loop.run()
    assert stage.batches == []


def test_run_ends_when_told_from_outside() -> None:
    bench = Bench(stage := Echo(), Limits(10, 0.01, 5))
    thread = threading.Thread(target=bench.loop.run)
    thread.start()
    bench.send(b"1")
    until(lambda: stage.deliveries > 0 and bench.values(OUT) == [b"1"])
    bench.stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_too_many_rejects_in_a_row_stop_it_after_their_letters_went_out() -> None:
    bench = Bench(Echo(), Limits(batch_records=3, poll_seconds=0.0, consecutive_rejects=5))
    bench.send(*[b"bad"] * 6)
    assert bench.loop.turn() == 3
    with pytest.raises(TooManyRejectsError) as caught:
        bench.loop.turn()
    for part in ("echo: 6 messages in a row", "said so", "persons.dlq", "limits.consecutive_rejects"):
        assert part in str(caught.value)
    assert bench.values(LETTERS) == [b"bad"] * 6
    assert bench.committed == {(TOPIC, 0): 6}


def test_as_many_rejects_as_are_allowed_do_not_stop_it_nor_more_with_a_good_one_between() -> None:
    bench = Bench(Echo(), Limits(batch_records=5, poll_seconds=0.0, consecutive_rejects=5))
    bench.send(*[b"bad"] * 5)
    assert [bench.loop.turn(), bench.loop.turn()] == [5, 0]
    bench.send(b"good", *[b"bad"] * 4, *[b"bad"] * 5)
    assert [bench.loop.turn(), bench.loop.turn()] == [5, 5]
    assert len(bench.values(LETTERS)) == 14


def test_the_pulse_tells_of_the_stage() -> None:
    bench = Bench(stage := Echo())
    assert not bench.loop.pulse.ready
    for state in (False, True, False):
        stage.is_ready = state
        before = bench.loop.pulse.beat
        bench.loop.turn()
        assert bench.loop.pulse.ready is state
        assert bench.loop.pulse.beat >= before


def test_of_each_partition_the_last_position_is_committed() -> None:
    bench = Bench(Echo())
    bench.send(b"a", b"b", partition=0)
    bench.send(b"c", partition=1)
    assert bench.loop.turn() == 3
    assert bench.committed == {(TOPIC, 0): 2, (TOPIC, 1): 1}
    batch = [message(None, offset=o, partition=p) for o, p in ((1, 0), (7, 1), (2, 0))]
    assert last_positions(batch) == [position(2, 0), position(7, 1)]
    assert last_positions([]) == []
