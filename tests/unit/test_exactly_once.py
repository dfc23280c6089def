"""What a matcher sends, given what the group has committed; and what it does when its store or its topic is another one."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.errors import FencedError, LostWritesError, SettingsError, StoreError
from consumer.loop import Result, result_of
from consumer.match import MatchStage
from consumer.ports import VectorIndex
from consumer.records import Floats, Message, OutboxEntry, Outgoing, Position, ScopeUpdate
from consumer.redo import Repair
from tests.factories import NOW_MS
from tests.match_runs import OPTIONS, TOPICS, by_id, new_stage, values
from tests.match_streams import SCOPE, VECTORS, Put, delivered, encoders, messages_of

TWINS = [Put(f"{pair}{side}", pair, None, NOW_MS) for pair in ("anna", "berta", "carla") for side in "12"]
"""Every second record makes a cluster with the one before it."""
MESSAGES = delivered(messages_of(TWINS))
END = len(MESSAGES)


class Noted(NoSnapshots):
    """Keeps the offsets of what it is asked to save."""

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        del partition, fingerprint, scopes
        self.offsets.append(offset)


class Bench:
    """A store, and what the group has committed; matchers come and go."""

    def __init__(self, store: MemoryClusters | None = None, committed: int = 0) -> None:
        self.store = store or MemoryClusters()
        self.committed = committed
        self.asked = 0
        self.snapshots = Noted()

    def matcher(self, end: int = END) -> MatchStage:
        stage = new_stage(self.store, self.snapshots, committed=self._committed)
        stage.assigned(0, end)
        return stage

    def _committed(self, _partition: int) -> int:
        self.asked += 1
        return self.committed


def ids(sent: Sequence[Outgoing]) -> list[str]:
    return list(by_id(values(sent)))


def test_a_batch_says_how_far_it_is_done() -> None:
    stage = Bench().matcher()
    result = result_of(stage, MESSAGES[:4])
    assert result.done == [Position(VECTORS, 0, 3)]
    assert len(ids(result.outgoing)) == 2
    stage.delivered()
    assert result_of(stage, []).done == [], "said once"


def test_what_was_told_before_a_crash_is_not_told_again() -> None:
    bench = Bench()
    whole = ids(result_of(bench.matcher(), MESSAGES).outgoing)  # died before it could acknowledge
    assert len(whole) == 3
    for committed, left in ((END, []), (4, whole[2:]), (0, whole)):
        again = Bench(copy.deepcopy(bench.store), committed).matcher()
        result = result_of(again, MESSAGES)
        assert ids(result.outgoing) == left
        again.delivered()
        assert result_of(again, []).outgoing == []


def test_a_snapshot_is_not_behind_what_was_not_told_yet() -> None:
    bench = Bench()
    stage = bench.matcher()
    result_of(stage, MESSAGES[:2])
    stage.delivered()
    result_of(stage, MESSAGES[2:])
    stage.close()
    assert bench.snapshots.offsets == [2]


def test_events_wait_until_everything_before_them_is_decided() -> None:
    """One committed number speaks for all scopes: one that is ahead must not move it past one that is behind."""
    bench = Bench()
    whole = ids(result_of(bench.matcher(), MESSAGES).outgoing)
    again = bench.matcher()
    first = result_of(again, MESSAGES[:3])
    assert ids(first.outgoing) == whole[:1]
    assert first.done == [Position(VECTORS, 0, 2)]
    again.delivered()
    assert ids(result_of(again, MESSAGES[3:]).outgoing) == whole[1:]


def test_after_a_delivery_of_which_nothing_is_known_the_group_is_asked() -> None:
    bench = Bench()
    stage = bench.matcher()
    whole = ids(result_of(stage, MESSAGES).outgoing)
    before = bench.asked
    stage.undelivered()
    assert ids(result_of(stage, MESSAGES).outgoing) == whole, "it had failed"
    bench.committed = END
    stage.undelivered()
    result = result_of(stage, MESSAGES)
    assert (ids(result.outgoing), result.done) == ([], []), "it had not"
    assert len(result.ingested_ms) == END, "nobody measured how long they took"
    assert bench.asked == before + 2
    stage.delivered()
    assert bench.store.outbox(SCOPE) == []
    assert result_of(stage, MESSAGES).ingested_ms == []


def test_a_batch_that_is_decided_while_another_is_delivered_is_told_after_it() -> None:
    bench = Bench()
    whole = ids(result_of(bench.matcher(), MESSAGES).outgoing)
    stage = Bench().matcher()
    first = result_of(stage, MESSAGES[:3])
    stage.process(MESSAGES[3:])
    stage.delivered()
    second = stage.result()
    assert (ids(first.outgoing), ids(second.outgoing)) == (whole[:1], whole[1:])
    assert (first.done, second.done) == ([Position(VECTORS, 0, 2)], [Position(VECTORS, 0, END - 1)])
    stage.delivered()
    assert result_of(stage, []) == Result([], [], [], [])


def test_a_snapshot_that_is_due_has_nothing_decided_beside_it() -> None:
    bench = Bench()
    stage = new_stage(bench.store, bench.snapshots, snapshot_records=3, committed=lambda _: 0)
    stage.assigned(0, END)
    assert not result_of(stage, MESSAGES[:2]).alone
    stage.process(MESSAGES[2:4])
    stage.delivered()
    assert bench.snapshots.offsets == [], "it was not due when that was handed over"
    assert stage.result().alone
    stage.delivered()
    assert bench.snapshots.offsets == [4]


def test_a_partition_that_comes_while_a_delivery_is_acknowledged_keeps_what_was_told_of_it() -> None:
    bench = Bench()
    result_of(bench.matcher(), MESSAGES)  # died before it could acknowledge
    bench.committed = END
    stage = bench.matcher()
    stage.delivered()  # of a batch from before the assignment
    assert ids(result_of(stage, MESSAGES).outgoing) == []


def test_partitions_that_were_not_taken_over_after_all_are_not_confirmed() -> None:
    bench = Bench()
    stage = bench.matcher()
    stage.given_back([0])
    bench.matcher()  # another one has it
    stage.confirm()
    assert result_of(stage, []).done == []


def test_a_dead_letter_that_was_sent_is_not_sent_again() -> None:
    bad = [Message(Position(VECTORS, 0, 0), b"r", b"no vector", NOW_MS)]
    bench = Bench()
    assert len(result_of(bench.matcher(1), bad).rejected) == 1
    bench.committed = 1
    assert result_of(bench.matcher(1), bad).rejected == []


def test_a_store_that_lost_everything_is_not_started_on() -> None:
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"told up to offset 6: its state was lost.*dedup rebuild"):
            Bench(committed=END).matcher()


def test_a_topic_that_is_shorter_than_what_was_told_is_another_one() -> None:
    bench = Bench()
    bench.matcher()
    bench.committed = END
    with pytest.raises(SettingsError, match="deleted and made anew"):
        bench.matcher(END - 1)


def test_a_store_that_forgot_a_batch_is_noticed_and_brought_forward() -> None:
    """A failover to a replica that lagged, under a matcher that lives on."""
    undisturbed = Bench()
    stage = undisturbed.matcher()
    whole = ids(result_of(stage, MESSAGES).outgoing)

    bench = Bench()
    stage = bench.matcher()
    result_of(stage, MESSAGES[:2])
    stage.delivered()
    replica = copy.deepcopy(bench.store)
    sent = ids(result_of(stage, MESSAGES[2:4]).outgoing)
    stage.delivered()
    bench.committed = 4
    _fail_over(bench.store, replica)
    with pytest.raises(LostWritesError, match="up to offset 1, and had said 3"):
        result_of(stage, MESSAGES[4:])
    stage.close()
    assert bench.snapshots.offsets == [], "its index may lack what it replayed beside the older store"
    again = bench.matcher()
    assert ids(result_of(again, MESSAGES).outgoing) == [i for i in whole[1:] if i not in sent]
    again.delivered()
    assert bench.store.assignment(SCOPE, "berta1") == undisturbed.store.assignment(SCOPE, "berta1")


class FailingOver(MemoryClusters):
    """Forgets, when told to, all that was written since the replica was made, between a write and the look at the outbox."""

    replica: MemoryClusters | None = None

    def outbox(self, scope: str) -> Sequence[tuple[int, OutboxEntry]]:
        if self.replica is not None:
            _fail_over(self, self.replica)
        return super().outbox(scope)


def _fail_over(store: MemoryClusters, replica: MemoryClusters) -> None:
    """The same address answers, with what the replica had."""
    for name in ("_scopes", "_epochs", "_partitions"):
        setattr(store, name, getattr(replica, name))


def test_a_batch_whose_entries_the_store_forgot_is_not_done() -> None:
    """Else its offset would be committed without its events, and nobody would ever tell them."""
    undisturbed = Bench()
    whole = ids(result_of(undisturbed.matcher(), MESSAGES).outgoing)

    bench = Bench(store := FailingOver())
    stage = bench.matcher()
    sent = ids(result_of(stage, MESSAGES[:2]).outgoing)
    stage.delivered()
    bench.committed = 2
    store.replica = copy.deepcopy(store)
    with pytest.raises(LostWritesError, match="up to offset 1, and had said 5"):
        result_of(stage, MESSAGES[2:])
    store.replica = None
    assert sent + ids(result_of(bench.matcher(), MESSAGES).outgoing) == whole


class Noting(GrowingIndex):
    """Keeps the ids that it was given, each time."""

    def __init__(self) -> None:
        super().__init__(encoders().layout.dim, 10_000, OPTIONS)
        self.given: list[str] = []

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        self.given += ids
        super().add(ids, vectors, masks)


class Faltering(MemoryClusters):
    """Is away for one write, when told to."""

    away_after: int | None = None

    def apply(
        self, scope: str, partition: int, epoch: int, offset: int, update: ScopeUpdate, after: int | None = None
    ) -> bool:
        if self.away_after is not None:
            self.away_after -= 1
            if self.away_after < 0:
                self.away_after = None
                raise StoreError("away")
        return super().apply(scope, partition, epoch, offset, update, after)


@pytest.mark.parametrize("writes", [0, 1])
def test_a_batch_that_is_tried_again_is_taken_into_the_index_once(writes: int) -> None:
    """Of a batch across blocks, one block is written and indexed before the next one; twice would move it in the graph."""
    start = 253  # three rows of a block of 256 offsets, then three of the next
    moved = [replace(m, position=replace(m.position, offset=start + n)) for n, m in enumerate(MESSAGES)]
    store, index = Faltering(), Noting()
    stage = new_stage(store, index=lambda: index)
    stage.assigned(0, start + END)
    store.away_after = writes
    with pytest.raises(StoreError):
        result_of(stage, moved)
    whole = ids(result_of(stage, moved).outgoing)
    assert index.given == [message.id for message in TWINS]
    assert len(whole) == 3


def test_a_matcher_learns_before_it_commits_that_another_took_over() -> None:
    bench = Bench()
    stage = bench.matcher()
    result_of(stage, MESSAGES)
    stage.confirm()
    bench.matcher()
    with pytest.raises(FencedError, match="took it over"):
        stage.confirm()


def test_an_idle_scope_works_off_what_waits_to_be_judged_again() -> None:
    bench = Bench()
    stage = bench.matcher()
    result_of(stage, MESSAGES)
    stage.delivered()
    epoch = bench.store.take_epoch(0)
    bench.store.claim(SCOPE, 0, epoch)
    bench.store.apply(SCOPE, 0, epoch, END - 1 + 1, _redo(["anna1", "berta1", "carla1"]))
    bench.committed = END + 1

    stage = new_stage(bench.store, repair=Repair(50, 1), committed=lambda _: END + 1, position=lambda _: END + 1)
    stage.assigned(0, END + 1)
    (tick,) = result_of(stage, []).outgoing
    assert (tick.topic, tick.partition, tick.value) == (VECTORS, 0, None)
    stage.undelivered()
    (again,) = result_of(stage, []).outgoing
    assert again == tick, "not known to be sent"
    stage.delivered()
    assert result_of(stage, []).outgoing == [], "one is on its way"
    stage.delivered()
    message = Message(Position(VECTORS, 0, END + 1), tick.key, tick.value, NOW_MS)
    result = result_of(stage, [message])
    assert [m for m in result.outgoing if m.topic == TOPICS.events] == []
    stage.delivered()
    assert bench.store.read(SCOPE, [], redo=1).waiting == 0
    assert result_of(stage, []).outgoing == []


def test_no_tick_while_there_is_something_to_read() -> None:
    bench = Bench()
    epoch = bench.store.take_epoch(0)
    bench.store.claim(SCOPE, 0, epoch)
    bench.store.apply(SCOPE, 0, epoch, 0, _redo(["anna1"]))
    stage = bench.matcher()
    assert result_of(stage, []).outgoing == [], "it is not ready"
    assert all(m.topic != VECTORS for m in result_of(stage, MESSAGES).outgoing)


def _redo(records: Sequence[str]) -> ScopeUpdate:
    return ScopeUpdate({}, {}, {}, {}, {}, (), (), {}, (), redo_put=records)


def test_an_entry_names_the_message_it_follows_from() -> None:
    bench = Bench()
    result_of(bench.matcher(), MESSAGES)
    entries: list[OutboxEntry] = [entry for _, entry in bench.store.outbox(SCOPE)]
    assert [entry.offset for entry in entries] == [1, 3, 5]
