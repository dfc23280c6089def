"""A matcher that dies at any step, or loses its store at any step, ends where an undisturbed one does."""

import random
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from consumer import match, rows
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.redis_clusters import RedisClusters
from consumer.errors import BrokerAwayError, FencedError, StoreError
from consumer.loop import result_of
from consumer.names import scope_partition
from consumer.ports import ClusterStore
from consumer.records import Message
from tests.crash_marks import MARKS, MARKS_OF, MODES, STORE_MARKS, Died, Trap, nth
from tests.match_runs import new_stage
from tests.match_streams import VECTORS
from tests.matchers import LIMITS, PARTITIONS, SEED, K, World, assert_same, contents, life, redis_store
from tests.services import Server

BROKER_STEPS = ("delivery.send", "delivery.wait", "publisher.message", "publisher.flush", "source.commit")
OF_GRAPHS = ("index.search", "index.add", "index.remove", "store.apply", "snapshots.save", "snapshots.load")


@pytest.fixture(params=["memory", "redis"])
def new_store(request: pytest.FixtureRequest) -> Iterator[Callable[[], ClusterStore]]:
    """A maker of empty stores."""
    if request.param == "memory":
        yield MemoryClusters
        return
    url = request.getfixturevalue("redis_url")
    made: list[RedisClusters] = []

    def make() -> RedisClusters:
        made.append(redis_store(url, f"crash-{secrets.token_hex(6)}"))
        return made[-1]

    yield make
    for store in made:
        with Redis.from_url(url) as client:
            for key in client.scan_iter(f"{store._prefix}:*", count=1000):
                client.delete(key)
        store.close()


@pytest.fixture
def undisturbed(new_store: Callable[[], ClusterStore], tmp_path: Path) -> World:
    world = World(new_store(), tmp_path / "undisturbed", life(SEED))
    world.run()
    return world


@pytest.fixture
def new_world(new_store: Callable[[], ClusterStore], tmp_path: Path, late: bool) -> Callable[[str], World]:
    return lambda mode: World(new_store(), tmp_path / "state", life(SEED), mode, late)


@pytest.fixture
def world(new_world: Callable[[str], World]) -> World:
    return new_world("exactly_once")


@pytest.fixture(params=[False, True], ids=["early", "late"])
def late(request: pytest.FixtureRequest) -> bool:
    """When a batch is delivered beside which another one is processed: before that, or after."""
    return bool(request.param)


TRAPS = [(mark, n) for mark in MARKS for n in nth(mark)]
TRAPS_OF_MODES = [(mode, mark, n) for mode in MODES for mark, n in TRAPS if mark in MARKS_OF[mode]]


@pytest.mark.parametrize(("mode", "mark", "n"), TRAPS_OF_MODES)
def test_a_crash_at_any_step_changes_nothing(
    new_world: Callable[[str], World], undisturbed: World, mode: str, mark: str, n: int
) -> None:
    world = new_world(mode)
    with pytest.raises(Died):
        world.run(Trap(mark, n, Died(mark)))
    world.run()
    assert_same(world, undisturbed)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(12))
def test_crash_upon_crash_changes_nothing(
    new_store: Callable[[], ClusterStore], tmp_path: Path, seed: int, mode: str, late: bool
) -> None:
    chance = random.Random(seed)
    steps = life(seed)
    undisturbed = World(new_store(), tmp_path / "undisturbed", steps)
    undisturbed.run()
    world = World(new_store(), tmp_path / "state", steps, mode, late)
    crashes = 0
    for _ in range(4):
        mark = chance.choice(MARKS_OF[mode])
        trap = Trap(mark, chance.choice(nth(mark)), Died())
        try:
            world.run(trap)
        except Died:
            crashes += 1
    world.run()
    assert crashes
    assert_same(world, undisturbed)


AROUND_GRAPHS = [(mark, n) for mark, n in TRAPS if mark.split()[1] in OF_GRAPHS]


@pytest.mark.parametrize(
    ("mark", "n", "fault"),
    [
        *((mark, n, Died(mark)) for mark, n in AROUND_GRAPHS),
        *((mark, n, StoreError("the store is away")) for mark, n in AROUND_GRAPHS if mark in STORE_MARKS),
    ],
)
def test_what_happens_while_a_graph_is_searched_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, n: int, fault: BaseException, late: bool
) -> None:
    """A graph of so few records finds them all, so what exact search comes to is the measure. A batch is a block here."""
    undisturbed = World(MemoryClusters(), tmp_path / "undisturbed", life(SEED))
    undisturbed.run()
    for module in (rows, match):
        monkeypatch.setattr(module, "BLOCK_OFFSETS", LIMITS.batch_records)
    world = World(MemoryClusters(), tmp_path / "state", life(SEED), late=late, exact_below=0)
    trap = Trap(mark, n, fault)
    try:
        world.run(trap)
    except Died:
        world.run()
    assert trap.sprung
    assert_same(world, undisturbed)


@pytest.mark.parametrize(("mark", "n"), [(mark, n) for mark, n in TRAPS if mark in STORE_MARKS])
def test_a_store_that_fails_at_any_step_is_waited_out(world: World, undisturbed: World, mark: str, n: int) -> None:
    """Also when only the answer was lost: after the call, that is."""
    trap = Trap(mark, n, StoreError("the store is away"))
    world.run(trap)
    assert trap.sprung
    assert_same(world, undisturbed)


BROKER_TRAPS = [(mode, mark, n) for mode, mark, n in TRAPS_OF_MODES if mark.split()[1] in BROKER_STEPS]


@pytest.mark.parametrize(("mode", "mark", "n"), BROKER_TRAPS)
def test_a_broker_that_fails_at_any_step_is_waited_out(
    new_world: Callable[[str], World], undisturbed: World, mode: str, mark: str, n: int
) -> None:
    """Also when only the answer was lost."""
    world = new_world(mode)
    trap = Trap(mark, n, BrokerAwayError("the broker is away"))
    world.run(trap)
    assert trap.sprung
    assert_same(world, undisturbed)


@pytest.mark.parametrize(
    "mark", ["before store.read", "before store.apply", "after store.apply", "before store.clusters"]
)
def test_a_store_that_fails_and_then_a_crash_change_nothing(world: World, undisturbed: World, mark: str) -> None:
    trap, death = Trap(mark, 4, StoreError("the store is away")), Trap("before snapshots.save", 3, Died())

    def both(where: str) -> None:
        trap(where)
        death(where)

    with pytest.raises(Died):
        world.run(both)
    world.run()
    assert trap.sprung
    assert_same(world, undisturbed)


def vectors(world: World, scope: str) -> list[Message]:
    """The messages of the partition a scope lives in."""
    return list(world.broker.log((VECTORS, scope_partition(scope, PARTITIONS))).messages)


@pytest.mark.parametrize("zombie_first", [True, False])
@pytest.mark.parametrize("seen", [0, 12, 20])
def test_a_matcher_that_lost_its_partition_cannot_write(world: World, seen: int, zombie_first: bool) -> None:
    """Neither in the scopes it had, nor in one that nobody had yet."""
    messages = vectors(world, "at")
    number, end = messages[0].position.partition, len(messages)
    zombie, owner = new_stage(world.store, k=K), new_stage(world.store, k=K)
    zombie.assigned(number, end)
    if seen:
        result_of(zombie, messages[:seen])  # written, and not yet acknowledged
    owner.assigned(number, end)
    if not zombie_first:
        result_of(owner, messages[: seen + 5])
    before = contents(world.store)

    with pytest.raises(FencedError):
        result_of(zombie, messages[seen : seen + 5])
    if seen:
        with pytest.raises(FencedError):
            zombie.delivered()
    assert contents(world.store) == before

    result_of(owner, messages)
    owner.delivered()
    assert result_of(owner, []).outgoing == []


@pytest.mark.parametrize(
    ("mark", "n"), [("before store.apply", 3), ("after store.apply", 5), ("after store.outbox", 4)]
)
def test_a_redis_that_is_killed_is_waited_for(redis_server: Server, tmp_path: Path, mark: str, n: int) -> None:
    steps = life(SEED)
    undisturbed = World(redis_store(redis_server.address, "undisturbed"), tmp_path / "undisturbed", steps)
    undisturbed.run()
    world = World(redis_store(redis_server.address, "killed"), tmp_path / "state", steps)
    starter = threading.Timer(1.0, redis_server.start)
    left = n

    def kill(where: str) -> None:
        nonlocal left
        if where == mark:
            left -= 1
            if not left:
                redis_server.kill()
                starter.start()

    with world.matcher(kill) as matcher:
        matcher.work()
    starter.join()
    assert left <= 0
    assert_same(world, undisturbed)
    for each in (world, undisturbed):
        cast("RedisClusters", each.store).close()
