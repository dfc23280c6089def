"""The loop with a batch beside the delivery of another one."""

from consumer.adapters.memory import MemorySource
from consumer.errors import StoreError
from tests.loops import OUT, TOPIC, Bench, Echo


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
