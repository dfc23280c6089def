"""Matchers that die, and the world that outlives them: broker, store and disk stay, and what they hold can be compared."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from redis import Redis

from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.memory import MemoryBroker, MemoryPublisher, MemorySource
from consumer.adapters.memory_clusters import MemoryClusters
from consumer.adapters.memory_transactions import MemoryTransactions
from consumer.adapters.redis_clusters import RedisClusters
from consumer.adapters.snapshot_files import Origin, SnapshotFiles
from consumer.delivery import AtLeastOnce
from consumer.loop import Limits, Loop
from consumer.match import MatchStage
from consumer.ports import ClusterStore, Delivery, Source, VectorIndex
from consumer.records import Saying
from tests.crash_marks import Fuse, MarkedPath, MarkedPublisher, marked, unharmed
from tests.deliveries import AtLast
from tests.factories import KEY, NOW_MS
from tests.match_runs import TOPICS, by_id, load_index, new_index, new_stage, view_of
from tests.match_streams import CITIES, NAMES, VECTORS, Again, Drop, Put, Step, Tell, messages_of

Partition = tuple[str, int]

PARTITIONS = 2
SCOPES = ("at", "be", "ch", "de")
"""Several in each partition: what they share is a process and a partition, not a fate."""
GROUP = "match"
SAYINGS: Sequence[Saying] = ("same", "different", "undecided")
LIMITS = Limits(batch_records=7, poll_seconds=0.0, consecutive_rejects=1)
SNAPSHOT_RECORDS = 10
K = 3
SEED = 20_240_611


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
        folder = type("_Folder", (MarkedPath,), {"fuses": (fuse,)})(world.folder)
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
            delivery = AtLeastOnce(source, marked(MarkedPublisher(world.broker, fuse), "publisher", fuse))
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
