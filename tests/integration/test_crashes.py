"""A matcher that dies at any step, or loses its store at any step, ends where an undisturbed one does.

Crashes are data: a mark names a step, and the n-th time the matcher comes to it, it dies. Its process state goes with
it; broker, store and disk stay.
"""

import random
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PosixPath
from typing import Any, ClassVar, TypeVar, cast

import pytest
from redis import Redis

from consumer import match, rows
from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.memory_transactions import MemoryTransactions
from consumer.adapters.redis_clusters import RedisClusters
from consumer.adapters.snapshot_files import Origin, SnapshotFiles
from consumer.delivery import AtLeastOnce
from consumer.errors import BrokerAwayError, FencedError, StoreError
from consumer.loop import Limits, Loop, result_of
from consumer.match import MatchStage
from consumer.names import scope_partition
from consumer.ports import ClusterStore, Delivery, Source, VectorIndex
from consumer.records import Message, Outgoing, Saying
from tests.deliveries import AtLast
from tests.factories import KEY, NOW_MS
from tests.match_runs import TOPICS, by_id, load_index, new_index, new_stage, view_of
from tests.match_streams import CITIES, NAMES, VECTORS, Again, Drop, Put, Step, Tell, messages_of
from tests.services import Server

T = TypeVar("T")
Fuse = Callable[[str], None]
Partition = tuple[str, int]

PARTITIONS = 2
SCOPES = ("at", "be", "ch", "de")
"""Several in each partition: what they share is a process and a partition, not a fate."""
GROUP = "match"
ORIGIN = Origin("person", VECTORS, "the first")
SAYINGS: Sequence[Saying] = ("same", "different", "undecided")
LIMITS = Limits(batch_records=7, poll_seconds=0.0, consecutive_rejects=1)
SNAPSHOT_RECORDS = 10
K = 3

STORE = (
    "epochs",
    "take_epoch",
    "scopes",
    "claim",
    "known",
    "read",
    "apply",
    "outbox",
    "clusters",
    "acknowledge",
)
STEPS = {
    "source": ("poll", "commit"),
    "store": STORE,
    "index": ("search", "add", "remove"),
    "publisher": ("publish", "message", "flush"),
    "delivery": ("send", "wait"),
    "snapshots": ("load", "save", "rename"),
}
MARKS = [f"{when} {port}.{step}" for port, steps in STEPS.items() for step in steps for when in ("before", "after")]
OF_ONE_MODE = {"at_least_once": (" publisher.", " source.commit"), "exactly_once": (" delivery.",)}
"""Parts of marks that a matcher of the other mode never comes to."""
MODES = tuple(OF_ONE_MODE)
MARKS_OF = {
    mode: [m for m in MARKS if not any(p in m for other in MODES if other != mode for p in OF_ONE_MODE[other])]
    for mode in MODES
}
BROKER_STEPS = ("delivery.send", "delivery.wait", "publisher.message", "publisher.flush", "source.commit")
OF_GRAPHS = ("index.search", "index.add", "index.remove", "store.apply", "snapshots.save", "snapshots.load")
STORE_MARKS = [mark for mark in MARKS if " store." in mark]


class Died(BaseException):
    """The end of a process: nothing may catch it."""


class _Marked:
    """A port whose calls come to marks, before and after."""

    def __init__(self, inner: Any, port: str, fuse: Fuse) -> None:
        self._inner = inner
        self._port = port
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name not in STEPS[self._port]:
            return value

        def call(*args: Any, **options: Any) -> Any:
            self._fuse(f"before {self._port}.{name}")
            answer = value(*args, **options)
            self._fuse(f"after {self._port}.{name}")
            return answer

        return call

    def __len__(self) -> int:
        return len(self._inner)

    def __contains__(self, record_id: str) -> bool:
        return record_id in self._inner


class _MarkedPublisher(MemoryPublisher):
    """Comes to a mark around every message, so that it can die with a part of a batch sent."""

    def __init__(self, broker: MemoryBroker, fuse: Fuse) -> None:
        super().__init__(broker)
        self._fuse = fuse

    def publish(self, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            self._fuse("before publisher.message")
            super().publish([message])
            self._fuse("after publisher.message")


class _MarkedPath(PosixPath):
    """A folder in which renaming comes to marks."""

    fuses: ClassVar[Sequence[Fuse]]

    def rename(self, target: Any) -> Any:
        for fuse in self.fuses:
            fuse("before snapshots.rename")
        renamed = super().rename(target)
        for fuse in self.fuses:
            fuse("after snapshots.rename")
        return renamed


def marked(inner: T, port: str, fuse: Fuse) -> T:
    return cast("T", _Marked(inner, port, fuse))


def unharmed(mark: str) -> None:
    """A fuse that never blows."""


class Trap:
    """A fuse that raises the n-th time it comes to the mark, once."""

    def __init__(self, mark: str, n: int, error: BaseException) -> None:
        self.sprung = False
        self._mark = mark
        self._left = n
        self._error = error

    def __call__(self, mark: str) -> None:
        if mark == self._mark and not self.sprung:
            self._left -= 1
            if not self._left:
                self.sprung = True
                raise self._error


class World:
    """What outlives a matcher: the broker, the store, the folder of the snapshots."""

    def __init__(
        self,
        store: ClusterStore,
        folder: Path,
        steps: Sequence[Step],
        mode: str = "exactly_once",
        late: bool = False,
        exact_below: int = 10_000,
    ) -> None:
        self.mode = mode
        self.late = late
        self.exact_below = exact_below
        self.store = store
        self.folder = folder
        self.broker = MemoryBroker({VECTORS: PARTITIONS})
        for topic in (TOPICS.events, TOPICS.clusters, TOPICS.possible):
            self.broker.create(topic, 3)
        MemoryPublisher(self.broker).publish(messages_of(steps, PARTITIONS))

    def run(self, fuse: Fuse = unharmed) -> "Matcher":
        """A new matcher, to the end of the stream."""
        with self.matcher(fuse) as matcher:
            matcher.work()
        return matcher

    @contextmanager
    def matcher(self, fuse: Fuse = unharmed) -> Iterator["Matcher"]:
        """A new matcher, which leaves the group in silence, as a dead one does."""
        matcher = Matcher(self, fuse)
        try:
            yield matcher
        finally:
            matcher.die()

    def sent(self, *topics: str) -> list[bytes]:
        """Events as a subscriber of all partitions reads them, each partition in its order."""
        return [m.value or b"" for topic in topics for m in self.broker.messages(topic)]

    def states(self) -> dict[bytes | None, bytes | None]:
        """What the compacted topic says in the end."""
        return {m.key: m.value for m in self.broker.messages(TOPICS.clusters)}

    def outboxes(self) -> list[Any]:
        return [entry for scope in SCOPES for entry in self.store.outbox(scope)]


class Matcher:
    """A process: loop, stage, indexes, clients."""

    def __init__(self, world: World, fuse: Fuse) -> None:
        folder = type("_Folder", (_MarkedPath,), {"fuses": (fuse,)})(world.folder)
        origin = Origin("person", VECTORS, "id")
        below = world.exact_below
        files = SnapshotFiles(origin, lambda path: marked(load_index(path, below), "index", fuse), 3600.0)
        snapshots = DiskSnapshots(folder, files)
        self.stage: MatchStage = new_stage(
            marked(world.store, "store", fuse),
            marked(snapshots, "snapshots", fuse),
            lambda: marked(cast("VectorIndex", new_index(below)), "index", fuse),
            k=K,
            max_size=4,
            snapshot_records=SNAPSHOT_RECORDS,
            position=lambda number: self._source.position(VECTORS, number),
            committed=lambda number: self._source.committed(VECTORS, number),
        )
        self._source = MemorySource(world.broker, GROUP, [VECTORS], self._assigned, self._revoked)
        source = marked(cast("Source", self._source), "source", fuse)
        delivery: Delivery = marked(MemoryTransactions(world.broker, self._source), "delivery", fuse)
        if world.mode == "at_least_once":
            delivery = AtLeastOnce(source, marked(_MarkedPublisher(world.broker, fuse), "publisher", fuse))
        self.loop = Loop(source, self.stage, AtLast(delivery) if world.late else delivery, LIMITS)
        self.starts: dict[Partition, int] = {}

    def work(self) -> None:
        """To the end of the stream."""
        while self.loop.advance() or any(self._source.lag().values()):
            pass

    def die(self) -> None:
        self._source._on_revoked = None
        self._source.close()

    def close(self) -> None:
        """A clean stop: with snapshots."""
        self._source.close()

    def _assigned(self, came: Sequence[Partition]) -> Mapping[Partition, int]:
        self.loop.settle()
        self.starts = {p: self.stage.assigned(p[1], self._source.high_watermark(*p)) for p in came}
        return self.starts

    def _revoked(self, partitions: Sequence[Partition], lost: bool) -> None:
        self.loop.settle()
        for _, number in partitions:
            self.stage.revoked(number, lost=lost)


def life(seed: int, n: int = 70) -> list[Step]:
    """Inserts, updates, erasures, late copies and people's words in every scope; many records are one of few people."""
    chance = random.Random(seed)
    steps: list[Step] = []
    for i in range(n):
        scope = chance.choice(SCOPES)
        record_id = f"{scope}-{chance.randrange(8)}"  # a record stays in its scope
        what = chance.random()
        if what < 0.15:
            steps.append(Drop(record_id))
        elif what < 0.22 and i:
            steps.append(Again(chance.randrange(i)))
        elif what < 0.32:
            a, b = sorted(chance.sample(range(8), 2))
            steps.append(Tell(f"{scope}-{a}", f"{scope}-{b}", chance.choice(SAYINGS), scope))
        else:
            born_ms = NOW_MS + chance.randrange(100)
            steps.append(Put(record_id, chance.choice(NAMES), chance.choice(CITIES), born_ms, scope))
    return steps


def contents(store: ClusterStore) -> Any:
    """All that a store holds, apart from epochs, offsets, lists of scopes, and the erasure marks of records that are back.

    And apart from how much it ever told: what comes late makes it say again what stands.
    """
    if isinstance(store, MemoryClusters):
        names = ("records", "assignments", "clusters", "members", "edges", "verdicts", "redo", "outbox")
        held = [(scope, s) for scope, s in store._scopes.items() if s.sequence or s.records or s.erased]
        erased = {scope: {r: m[0] for r, m in s.erased.items() if r not in s.records} for scope, s in held}
        return {scope: {name: getattr(s, name) for name in names} for scope, s in held}, erased
    assert isinstance(store, RedisClusters)
    prefix = f"{store._prefix}:".encode()
    back = {store._names(s).erased(r.decode()).encode() for s in SCOPES for r in _hash_keys(store, s)}
    with Redis.from_url(store._redis._url) as client:
        dump: dict[bytes, Any] = {}
        for key in client.scan_iter(prefix + b"*", count=1000):
            name = key.removeprefix(prefix)
            if name.endswith((b":epochs", b":head")) or b"}:scopes:" in name or key in back:
                continue
            kind = client.type(key)
            if kind == b"hash":
                dump[name] = client.hgetall(key)
            elif kind == b"zset":
                dump[name] = client.zrange(key, 0, -1)
            elif kind == b"set":
                dump[name] = client.smembers(key)
            else:
                dump[name] = client.get(key)
        return dump


def _hash_keys(store: RedisClusters, scope: str) -> Sequence[bytes]:
    return cast("Sequence[bytes]", store._redis.execute("HKEYS", store._names(scope).records))


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


def redis_store(url: str, prefix: str) -> RedisClusters:
    return RedisClusters(url, profile="person", key=KEY, erased_ttl_seconds=3600, prefix=prefix, timeout_seconds=2.0)


def assert_same(world: World, undisturbed: World) -> None:
    """The same events with the same bytes, no gap, the same state everywhere, nothing owed; exactly once, where promised."""
    for topic in (TOPICS.events, TOPICS.possible):
        assert by_id(world.sent(topic)) == by_id(undisturbed.sent(topic))
        if world.mode == "exactly_once":
            assert len(world.sent(topic)) == len(undisturbed.sent(topic))
    view = view_of(world.sent(TOPICS.events))
    assert view.gaps == []
    assert view.clusters == view_of(undisturbed.sent(TOPICS.events)).clusters
    assert world.states() == undisturbed.states()
    assert world.outboxes() == []
    assert contents(world.store) == contents(undisturbed.store)


SEED = 20_240_611


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


def nth(mark: str) -> tuple[int, ...]:
    """Which comings to the mark are tried: some steps happen once in a life."""
    step = mark.split(".")[1]
    return {"take_epoch": (1, 2), "scopes": (1, 2), "load": (1, 2), "claim": (1, 3), "rename": (1, 2)}.get(
        step, (1, 4) if step in {"save", "remove"} else (1, 5)
    )


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
