"""The loop over a broker in memory, with stages that behave as stages may."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_transactions import MemoryTransactions
from consumer.delivery import AtLeastOnce
from consumer.encode import EncodeStage
from consumer.errors import BrokerAwayError, BrokerError, FencedError, StoreError, TooManyRejectsError
from consumer.letters.dead_letters import dead_letter
from consumer.loop import Limits, Loop, Result, last_positions
from consumer.records import Message, Outgoing, Position, Rejected
from tests.deliveries import AtLast
from tests.factories import NOW_MS, encoder_set, message, position, signup

TOPIC, OUT, LETTERS = "persons", "out", "persons.dlq"
LIMITS = Limits(batch_records=10, poll_seconds=0.0, consecutive_rejects=5)


class Echo:
    """Sends every message on; rejects those that say so. `faults` are raised, one a call, before anything else."""

    name = "echo"

    def __init__(self, faults: Sequence[Exception] = (), late_faults: Sequence[Exception] = ()) -> None:
        self.faults = list(faults)
        self.late_faults = list(late_faults)
        self.batches: list[list[bytes | None]] = []
        self.deliveries = 0
        self.lost = 0
        self.alone = False
        self.made = Result([])
        self.is_ready = True
        self.on_delivered: Callable[[], None] = lambda: None
        self.on_confirm: Callable[[], None] = lambda: None

    def room(self, limit: int) -> int:
        return limit

    def process(self, messages: Sequence[Message]) -> None:
        self.batches.append([m.value for m in messages])
        if self.faults:
            raise self.faults.pop(0)
        rejected = [Rejected(m, self.name, "said so") for m in messages if m.value == b"bad"]
        sent = [Outgoing(OUT, m.key, m.value) for m in messages if m.value != b"bad"]
        self.made = Result(sent, rejected, last_positions(messages), alone=self.alone)

    def result(self) -> Result:
        return self.made

    def confirm(self) -> None:
        self.on_confirm()

    def delivered(self) -> None:
        if self.late_faults:
            raise self.late_faults.pop(0)
        self.deliveries += 1
        self.on_delivered()

    def undelivered(self) -> None:
        self.lost += 1

    def ready(self) -> bool:
        return self.is_ready


class Faltering(MemoryPublisher):
    """Is away so many times, once it has the messages."""

    away = 0

    def flush(self) -> None:
        if self.away:
            self.away -= 1
            raise BrokerAwayError("the broker is away")


class Bench:
    """A broker with a loop over it."""

    def __init__(self, stage: Echo, limits: Limits = LIMITS, late: bool = False) -> None:
        self.broker = MemoryBroker({TOPIC: 2, OUT: 1, LETTERS: 1})
        self.stop = threading.Event()
        self.source = MemorySource(self.broker, "group", [TOPIC])
        self.publisher = Faltering(self.broker)
        delivery = AtLeastOnce(self.source, self.publisher)
        self.loop = Loop(self.source, stage, AtLast(delivery) if late else delivery, limits, self.stop)

    def send(self, *values: bytes, partition: int = 0) -> None:
        self.publisher.publish([Outgoing(TOPIC, b"k", value, {}, partition, NOW_MS) for value in values])

    def values(self, topic: str) -> list[bytes | None]:
        return [m.value for m in self.broker.messages(topic)]

    @property
    def committed(self) -> dict[tuple[str, int], int]:
        return self.broker.group("group").committed


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


def test_a_fenced_stage_ends_the_loop_and_commits_nothing() -> None:
    bench = Bench(stage := Echo([FencedError("another owns it")]))
    bench.send(b"1")
    with pytest.raises(FencedError):
        bench.loop.run()
    assert bench.committed == {}
    assert bench.values(OUT) == []
    assert stage.deliveries == 0


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


# a batch beside the delivery of another one


def test_a_full_batch_is_on_its_way_while_the_next_one_is_processed() -> None:
    bench = Bench(stage := Echo(), late=True)
    bench.send(*(b"%d" % i for i in range(22)))
    assert bench.loop.advance() == 10
    assert (len(stage.batches), bench.values(OUT), bench.committed) == (1, [], {})
    assert bench.loop.advance() == 10
    assert (len(stage.batches), len(bench.values(OUT)), bench.committed) == (2, 10, {(TOPIC, 0): 10})
    assert bench.loop.advance() == 2
    assert bench.values(OUT) == [b"%d" % i for i in range(22)]
    assert (stage.deliveries, bench.committed) == (3, {(TOPIC, 0): 22}), "behind a batch that was not full none waits"


def test_a_batch_is_full_where_the_stage_wanted_no_more() -> None:
    class Choosy(Echo):
        def room(self, limit: int) -> int:
            return 2 if not self.batches else limit

    bench = Bench(stage := Choosy(), late=True)
    bench.send(*[b"x"] * 5)
    assert bench.loop.advance() == 2
    assert (len(stage.batches), bench.values(OUT)) == (1, [])
    assert bench.loop.advance() == 3
    assert (stage.deliveries, len(bench.values(OUT))) == (2, 5)


def test_a_result_that_wants_to_be_alone_is_waited_for() -> None:
    bench = Bench(stage := Echo(), late=True)
    stage.alone = True
    bench.send(*[b"x"] * 10)
    assert bench.loop.advance() == 10
    assert (stage.deliveries, bench.committed) == (1, {(TOPIC, 0): 10})


def test_a_batch_that_could_not_be_delivered_goes_again_before_the_one_behind_it() -> None:
    bench = Bench(stage := Echo(), late=True)
    sent = [b"%d" % i for i in range(12)]
    bench.send(*sent)
    bench.publisher.away = 2
    assert [bench.loop.advance(), bench.loop.advance()] == [10, 2]
    assert [len(batch) for batch in stage.batches] == [10, 2, 12, 12]
    assert stage.batches[-1] == sent
    assert bench.values(OUT) == [*sent[:10], *sent, *sent], "the broker had taken them before it was away"
    assert (stage.lost, stage.deliveries, bench.committed) == (2, 1, {(TOPIC, 0): 12})


def test_a_store_that_is_away_holds_up_nothing_that_is_on_its_way() -> None:
    bench = Bench(stage := Echo(), late=True)
    bench.send(*[b"x"] * 12)
    assert bench.loop.advance() == 10
    stage.faults = [StoreError("redis is away")]
    assert bench.loop.advance() == 2
    assert [len(batch) for batch in stage.batches] == [10, 2, 2]
    assert (len(bench.values(OUT)), bench.committed) == (12, {(TOPIC, 0): 12})


def test_of_a_delivery_that_failed_what_another_member_took_is_dropped() -> None:
    bench = Bench(stage := Echo(), late=True)
    bench.send(*[b"mine"] * 5, partition=0)
    bench.send(*[b"theirs"] * 5, partition=1)
    assert bench.loop.advance() == 10
    bench.publisher.away = 1
    bench.loop.settle()  # as a source that moves partitions does
    other = MemorySource(bench.broker, "group", [TOPIC])
    bench.loop.advance()
    assert stage.batches[1:] == [[b"mine"] * 5]
    assert bench.committed == {(TOPIC, 0): 5}
    assert [m.value for m in other.poll(10, 0.0)] == [b"theirs"] * 5


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
