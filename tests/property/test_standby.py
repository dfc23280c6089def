"""Laws of the hot standby: whoever takes a partition over, whenever, has the index that a replay gives, and goes on as one
who never stopped.
"""

import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.exact_index import ExactIndex
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.memory import MemorySource
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.memory_tail import MemoryTail
from consumer.adapters.memory_transactions import MemoryTransactions
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.adapters.snapshot_files import Origin, SnapshotFiles
from consumer.errors import StoreError
from consumer.loop import Loop
from consumer.ports import SnapshotStore, VectorIndex
from consumer.records import Vector
from consumer.standby import Standby, StandbyLoop, StandbySettings
from consumer.vectors import unpack
from tests.match_runs import load_index, new_index, new_stage
from tests.match_streams import VECTORS, encoders
from tests.matchers import GROUP, LIMITS, PARTITIONS, Partition, World, assert_same, life

DAY_SECONDS = 86_400.0


def chosen(save_records: int | None = None, max_age_seconds: float = DAY_SECONDS) -> StandbySettings:
    made = encoders()
    return StandbySettings(made.fingerprint, made.layout.dim, max_age_seconds, save_records, erased_seconds=DAY_SECONDS)


class Process:
    """A matcher with a standby, told of its partitions as the service tells it."""

    def __init__(self, world: World, snapshots: SnapshotStore | None = None, save_records: int | None = None) -> None:
        self.world = world
        tail = MemoryTail(world.broker, VECTORS, GROUP)
        self.standby = Standby(chosen(save_records), tail, world.store, snapshots or NoSnapshots(), new_index)
        self.stage = new_stage(
            world.store,
            self.standby,
            k=3,
            max_size=4,
            snapshot_records=10,
            position=lambda number: self.source.position(VECTORS, number),
            committed=lambda number: self.source.committed(VECTORS, number),
        )
        self.source = MemorySource(world.broker, GROUP, [VECTORS], self._assigned, self._revoked)
        self.loop = Loop(self.source, self.stage, MemoryTransactions(world.broker, self.source), LIMITS)
        self.starts: dict[Partition, int] = {}
        self.fails = 0

    def _assigned(self, came: Sequence[Partition]) -> Mapping[Partition, int]:
        try:
            starts = {p: self.stage.assigned(p[1], self.source.high_watermark(*p)) for p in came}
            self._may_fail()
        except StoreError:
            self.stage.given_back(number for _, number in came)
            self.standby.given_back(number for _, number in came)
            raise
        self.starts |= starts
        return starts

    def _may_fail(self) -> None:
        if self.fails:
            self.fails -= 1
            raise StoreError("the store went away at the last moment")

    def _revoked(self, partitions: Sequence[Partition], lost: bool) -> None:
        for _, number in partitions:
            self.standby.released(number, saved=self.stage.revoked(number, lost=lost))

    def die(self) -> None:
        self.source._on_revoked = None
        self.source.close()

    def work(self) -> None:
        while self.loop.turn() or any(self.source.lag().values()):
            pass

    def follow(self) -> None:
        """Until it has all that was decided."""
        for _ in range(100):
            self.standby.turn(0.0)
            if self.standby.ready():
                return
        raise AssertionError("the standby does not catch up")

    def held(self) -> dict[int, Mapping[str, VectorIndex]]:
        """By partition, the indexes this process owns or keeps; of each scope that has any record."""
        owned = {n: {s: scope.index for s, scope in p.scopes.items()} for n, p in self.stage._partitions.items()}
        kept = {n: dict(k.indexes) for n, k in self.standby._kept.items()}
        assert not owned.keys() & kept.keys(), "a partition is held twice"
        return {n: {s: i for s, i in indexes.items() if len(i)} for n, indexes in {**owned, **kept}.items()}


def replayed(world: World) -> dict[int, dict[str, dict[str, bytes]]]:
    """By partition and scope: ids and vectors that a replay of the whole topic gives.

    Without their order, of which a late copy of a message makes another one in a replay than in life, as compaction does.
    """
    made, store = encoders(), world.store
    found: dict[int, dict[str, dict[str, bytes]]] = {n: {} for n in range(PARTITIONS)}
    for message in world.broker.messages(VECTORS):
        item = unpack(message, made.fingerprint, made.layout.dim)
        if not isinstance(item, Vector):
            continue
        state = store.known(item.scope, [item.id]).records.get(item.id)
        if state is not None and state.source == item.source:
            vector = item.values.astype(np.float32).tobytes()
            found[message.position.partition].setdefault(item.scope, {})[item.id] = vector
    return found


def told(indexes: Mapping[str, VectorIndex]) -> dict[str, dict[str, bytes]]:
    shown = {}
    for scope, index in indexes.items():
        assert isinstance(index, GrowingIndex)
        assert isinstance(index._inner, ExactIndex)
        ids = index._inner.ids
        shown[scope] = {record: row.tobytes() for record, row in zip(ids, index.vectors(ids)[0], strict=True)}
    return shown


@cache
def undisturbed(seed: int, n: int = 70) -> World:
    """One matcher alone, to the end."""
    world = World(MemoryClusters(), Path(), life(seed, n))
    alone = Process(world)
    alone.work()
    alone.die()
    return world


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["turn", "turn", "follow", "follow", "die", "leave", "join", "fail"]), st.integers(0, 2)),
    max_size=40,
)


@settings(max_examples=40)
@given(seed=st.integers(0, 3), actions=ACTIONS)
def test_any_interleaving_of_owners_standbys_and_deaths_ends_where_one_matcher_alone_does(
    seed: int, actions: list[tuple[str, int]]
) -> None:
    world = World(MemoryClusters(), Path(), life(seed))
    there = [Process(world), Process(world)]
    for what, which in actions:
        process = there[which % len(there)]
        if what == "turn":
            process.loop.turn()
        elif what == "follow":
            process.standby.turn(0.0)
        elif what == "fail":
            process.fails = 1
        elif what == "join" and len(there) < 3:
            there.append(Process(world))
        elif what in ("die", "leave") and len(there) > 1:
            there.remove(process)
            process.die() if what == "die" else process.source.close()
    while sum(process.loop.turn() for process in there) or _behind(world):  # each has its turn
        pass
    assert_same(world, undisturbed(seed))
    wanted = {n: scopes for n, scopes in replayed(world).items() if scopes}
    for process in there:
        process.follow()
        assert {n: told(indexes) for n, indexes in process.held().items() if indexes} == wanted
    for process in there:
        process.die()


def _behind(world: World) -> bool:
    committed = world.broker.group(GROUP).committed
    return any(committed.get((VECTORS, n), 0) < world.broker.log((VECTORS, n)).end for n in range(PARTITIONS))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(MemoryClusters(), tmp_path, life(7))


def test_a_standby_that_takes_over_reads_nothing_twice(world: World) -> None:
    owner, heir = Process(world), Process(world)
    for _ in range(5):
        owner.loop.turn()
    owner.work()
    heir.work()
    heir.follow()
    ends = {(VECTORS, n): world.broker.log((VECTORS, n)).end for n in range(PARTITIONS)}
    lost = set(owner.starts) - set(heir.starts)
    owner.die()
    heir.loop.turn()
    assert {p: heir.starts[p] for p in lost} == {p: ends[p] for p in lost}
    assert lost


def test_one_that_is_behind_hands_over_what_it_has(world: World) -> None:
    owner = Process(world)
    for _ in range(4):
        owner.loop.turn()
    late = Process(world)
    late.standby.turn(0.0)
    here = {n: kept.offset for n, kept in late.standby._kept.items()}
    owner.work()
    owner.die()
    late.loop.turn()
    assert {n: late.starts[VECTORS, n] for n in here} == here
    late.work()
    assert told(late.held()[0]) == replayed(world)[0]


def test_nothing_is_indexed_before_it_is_decided(world: World) -> None:
    idle = Process(world)
    idle.standby.turn(0.0)
    idle.standby.turn(0.0)
    assert idle.standby.ready(), "all that was decided is nothing"
    assert all(kept.offset == 0 and not kept.indexes for kept in idle.standby._kept.values())


def test_a_store_that_lost_writes_is_not_given_an_index_that_is_ahead_of_it(world: World) -> None:
    owner = Process(world)
    owner.work()
    owner.follow()
    other = Process(world)
    other.follow()
    assert other.standby.load(0, encoders().fingerprint, {}) is None
    assert other.standby.load(1, "beef", dict.fromkeys(("at", "be", "ch", "de"), 10_000)) is None


def test_one_that_was_away_for_longer_than_null_values_last_begins_anew(world: World) -> None:
    owner = Process(world)
    owner.work()
    owner.die()
    seconds = 0.0
    tail = MemoryTail(world.broker, VECTORS, GROUP)
    standby = Standby(chosen(max_age_seconds=100.0), tail, world.store, NoSnapshots(), new_index, now=lambda: seconds)
    for _ in range(5):
        standby.turn(0.0)
    assert standby.ready()
    seconds = 101.0
    applied = {scope: world.store.applied(scope, 0) for scope in world.store.scopes(0)}
    assert standby.load(0, encoders().fingerprint, applied) is None


def test_what_is_kept_is_saved_where_nobody_else_would_and_read_again(world: World, tmp_path: Path) -> None:
    def store() -> DiskSnapshots:
        return DiskSnapshots(tmp_path / "own", SnapshotFiles(Origin("person", VECTORS, "id"), load_index, DAY_SECONDS))

    owner = Process(world)
    owner.work()
    first = Process(world, store(), save_records=5)
    first.follow()
    at = {n: kept.offset - kept.moved for n, kept in first.standby._kept.items()}
    first.die()
    second = Process(world, store(), save_records=5)
    second.standby._begin()
    assert {n: kept.offset for n, kept in second.standby._kept.items()} == at
    assert all(at.values())
    second.follow()
    assert {n: told(i) for n, i in second.held().items()} == replayed(world)


class Failing(NoSnapshots):
    """A disk on which the snapshots of a partition could not be written."""

    def __init__(self) -> None:
        self.due: list[int] = []

    def unsaved(self) -> list[int]:
        due, self.due = self.due, []
        return due


@pytest.mark.parametrize("save_records", [1_000_000, None])
def test_who_is_handed_an_index_knows_that_the_snapshot_in_place_holds_an_erased_record(
    world: World, save_records: int | None
) -> None:
    """Its own; or the one that its owner made where all keep theirs, and did not live to replace."""
    owner = Process(world)
    owner.work()
    other = Process(world, save_records=save_records)
    other.follow()
    erasing = {number for number, kept in other.standby._kept.items() if kept.erased is not None}
    assert erasing
    for number in range(PARTITIONS):
        applied = {scope: world.store.applied(scope, number) for scope in world.store.scopes(number)}
        assert other.standby.load(number, encoders().fingerprint, applied) is not None
    assert set(other.standby.unsaved()) == erasing
    assert list(other.standby.unsaved()) == [], "told once"


def test_a_snapshot_of_what_is_kept_that_could_not_be_written_is_written_again(world: World) -> None:
    disk = Failing()
    owner = Process(world)
    owner.work()
    other = Process(world, disk, save_records=1_000_000)
    other.follow()
    for kept in other.standby._kept.values():
        kept.erased = None
    disk.due = [0]
    assert list(other.standby.unsaved()) == [0]
    assert [kept.erased is not None for _, kept in sorted(other.standby._kept.items())] == [
        n == 0 for n in range(PARTITIONS)
    ]


def test_an_index_that_was_let_go_without_a_snapshot_is_not_kept(world: World) -> None:
    """What is known of it is from an earlier snapshot, and the index has gone on since."""
    owner = Process(world)
    owner.work()
    with patch.object(world.store, "applied", side_effect=StoreError("away")):
        owner.source.close()
    assert owner.standby._kept == {}


@pytest.mark.parametrize("seed", range(2))
def test_with_threads_that_run_at_the_same_time(seed: int) -> None:
    """Owners die one after the other while their standbys run; each time another takes over in the middle of a batch."""
    world = World(MemoryClusters(), Path(), life(seed, 120))
    stop = threading.Event()
    there = [Process(world) for _ in range(3)]
    loops = [StandbyLoop(process.standby, stop) for process in there]
    threads = [threading.Thread(target=_turn, args=(loop, stop)) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        for process in there[:2]:
            for _ in range(6):
                process.loop.turn()
            process.die()
        there[2].work()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert_same(world, undisturbed(seed, 120))
    assert {n: told(i) for n, i in there[2].held().items()} == replayed(world)


def _turn(loop: StandbyLoop, stop: threading.Event) -> None:
    while not stop.is_set():
        loop.turn()
