"""The match stage: vectors → cluster events. Owns the scopes of its partitions; their index is a replayed view.

One batch of one scope: drop what was seen before → search → score → decide → apply to the store (atomic, fenced) →
update the index → send the outbox. A crash after any step repeats the batch to the same end: what was applied is
recognised by its offset and only indexed, what was not sent is still in the outbox.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from consumer.beliefs import Beliefs
from consumer.decisions import Decisions, Policy
from consumer.errors import RejectedError, SettingsError
from consumer.events import EventRenderer
from consumer.fusion import Fusion
from consumer.loop import Result
from consumer.metrics import METRICS
from consumer.neighbours import match_rows
from consumer.ports import ClusterStore, SnapshotStore, VectorIndex
from consumer.records import (
    Erasure,
    Match,
    Message,
    Outgoing,
    Rejected,
)
from consumer.routing import route
from consumer.rows import Row, bring_up_to_date, fresh_rows, is_current
from consumer.vectors import unpack, word_message

STAGE = "match"
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class MatchTopics:
    """Where the outcome goes."""

    events: str
    clusters: str
    possible: str


@dataclass(frozen=True, slots=True)
class MatchSettings:
    """What a matcher needs to know."""

    profile: str
    vectors_topic: str
    fingerprint: str
    """Of profile and models: only vectors that carry it are compared."""
    mint_key: bytes
    topics: MatchTopics
    neighbours: int
    """k: candidates scored per record."""
    policy: Policy
    snapshot_records: int
    """Messages between two snapshots of a partition."""


@dataclass(slots=True)
class _Scope:
    """One scope this process owns."""

    name: str
    index: VectorIndex
    applied: int
    """Last offset whose changes are in the store."""
    beliefs: Beliefs
    """What its stream has shown up to there."""
    in_doubt: bool = False
    """A write was tried whose answer never came: only the store knows how far it is."""
    dirty: bool = True
    """Its outbox may hold entries; true at first, since a predecessor may have left some."""
    waiting: int = 0
    """Records that were on its redo queue, when last seen."""
    owed: int = -1
    """Sequence of the last outbox entry handed to the publisher."""


@dataclass(slots=True)
class _Partition:
    """One partition of the vectors topic this process owns."""

    number: int
    epoch: int
    target: int
    """High watermark when it was assigned: from there on it is live."""
    next_offset: int = 0
    since_snapshot: int = 0
    scopes: dict[str, _Scope] = field(default_factory=dict)


class MatchStage:
    """Matches every vector of the partitions assigned to it."""

    name = STAGE

    def __init__(
        self,
        settings: MatchSettings,
        fusion: Fusion,
        store: ClusterStore,
        snapshots: SnapshotStore,
        new_index: Callable[[], VectorIndex],
        position: Callable[[int], int | None] = lambda _: None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self._fusion = fusion
        self._store = store
        self._snapshots = snapshots
        self._new_index = new_index
        self._position = position
        self._now_ms = now_ms
        deciding = f"{settings.fingerprint} {fusion.fingerprint}".encode()
        self._config = hashlib.blake2b(deciding, digest_size=8).hexdigest()
        self._decisions = Decisions(store, settings.policy, settings.profile, self._config, settings.mint_key)
        self._partitions: dict[int, _Partition] = {}
        self._ingested_ms: list[int] = []

    # ownership

    def assigned(self, partition: int, high_watermark: int) -> int:
        """Take a partition over and return the offset to read from: that of its snapshot, else 0.

        Raises SettingsError when the store knows offsets the topic does not have: the topic was made anew.
        """
        epoch = self._store.take_epoch(partition)
        owned = _Partition(partition, epoch, high_watermark)
        applied = {scope: self._claim(scope, owned) for scope in self._store.scopes(partition)}
        if (newest := max(applied.values(), default=-1)) >= high_watermark:
            raise SettingsError(
                f"the store has applied offset {newest} of {self._settings.vectors_topic}[{partition}], which ends at "
                f"{high_watermark}: the topic was deleted and made anew. Use another redis.prefix to start afresh."
            )
        snapshot = self._snapshots.load(partition, self._settings.fingerprint, applied)
        if snapshot is not None:
            owned.next_offset = snapshot.offset
        for scope, offset in applied.items():
            index = snapshot.indexes.get(scope) if snapshot else None
            held = index if index is not None else self._new_index()
            owned.scopes[scope] = _Scope(scope, held, offset, self._beliefs(scope))
        self._partitions[partition] = owned
        self._count()
        _log.info("assigned", partition=partition, epoch=epoch, start=owned.next_offset, end=high_watermark)
        return owned.next_offset

    def revoked(self, partition: int, *, lost: bool) -> None:
        """Let a partition go; with a snapshot, unless it was lost to another owner already."""
        owned = self._partitions.pop(partition, None)
        if owned is not None and not lost:
            self._snapshot(owned)
        self._count()

    def ready(self) -> bool:
        """True once the indexes hold what was there when their partitions were assigned."""
        # the source's own position also passes what compaction removed and a transaction's markers
        return all(max(p.next_offset, self._position(p.number) or 0) >= p.target for p in self._partitions.values())

    def close(self) -> None:
        """Snapshot everything owned."""
        for number in list(self._partitions):
            self.revoked(number, lost=False)

    # a batch

    def process(self, messages: Sequence[Message]) -> Result:
        rejected: list[Rejected] = []
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(message.position.partition, []).append(message)
        for number, batch in by_partition.items():
            owned = self._partitions[number]
            for scope, rows in self._route(owned, batch, rejected).items():
                self._process_scope(owned, owned.scopes[scope], rows)
            owned.since_snapshot += len(batch)
            owned.next_offset = batch[-1].position.offset + 1
        return Result(self._collect(), rejected)

    def delivered(self) -> None:
        for owned in self._partitions.values():
            for scope in owned.scopes.values():
                if scope.owed >= 0:
                    self._store.acknowledge(scope.name, owned.epoch, scope.owed)
                    scope.owed = -1
                    scope.dirty = False
            if owned.since_snapshot >= self._settings.snapshot_records:
                self._snapshot(owned)
        now = self._now_ms()
        for ingested_ms in self._ingested_ms:
            METRICS.latency_seconds.labels(STAGE).observe(max(0, now - ingested_ms) / 1000)
        self._ingested_ms.clear()
        self._count()

    def _route(self, owned: _Partition, batch: Sequence[Message], rejected: list[Rejected]) -> Mapping[str, list[Row]]:
        """Messages of a partition as rows of their scopes, which are claimed where they are new."""
        unpacked: list[Row] = []
        for message in batch:
            try:
                item = unpack(message, self._settings.fingerprint, self._fusion.layout.dim)
                unpacked.append(Row(item, message.position))
            except RejectedError as error:
                rejected.append(Rejected(message, STAGE, str(error)))
        for name in {row.item.scope: None for row in unpacked if not isinstance(row.item, Erasure)}:
            if name not in owned.scopes:
                owned.scopes[name] = _Scope(name, self._new_index(), self._claim(name, owned), self._beliefs(name))
        held = {name: (scope.index, scope.applied) for name, scope in owned.scopes.items()}
        return route(unpacked, held, self._store)

    def _process_scope(self, owned: _Partition, scope: _Scope, rows: Sequence[Row]) -> None:
        step = METRICS.step_seconds.labels
        if scope.in_doubt:
            scope.applied = self._claim(scope.name, owned)
            scope.beliefs = self._beliefs(scope.name)
            scope.dirty = True  # what was written after all has left its events
            scope.in_doubt = False
        with step(STAGE, "read").time():
            known = self._store.known(scope.name, list({record_id for row in rows for record_id in row.records}))
        replayed = [row for row in rows if row.position.offset <= scope.applied]
        bring_up_to_date(scope.index, [row for row in replayed if is_current(row, known)])
        live = rows[len(replayed) :]
        if not live:
            return
        fresh = fresh_rows(live, known)
        METRICS.stale.inc(len(live) - len(fresh))
        with step(STAGE, "match").time():
            beliefs = scope.beliefs.copy()
            matches = match_rows(fresh, scope.index, self._fusion, beliefs, self._settings.neighbours)
        self._apply(owned, scope, fresh, matches, beliefs, live[-1].position.offset)
        scope.beliefs = beliefs
        with step(STAGE, "index").time():
            bring_up_to_date(scope.index, fresh)
        scope.dirty = True
        scope.applied = live[-1].position.offset
        self._ingested_ms += [row.item.ingested_ms for row in live]

    def _apply(
        self,
        owned: _Partition,
        scope: _Scope,
        rows: Sequence[Row],
        matches: Sequence[Sequence[Match]],
        beliefs: Beliefs,
        offset: int,
    ) -> None:
        """Turn matches into changes and write them. Rows may be empty: the offset still counts as applied."""
        decision = self._decisions.make(scope.name, rows, matches, scope.index, self._fusion.layout.dim)
        scope.waiting = decision.waiting
        with METRICS.step_seconds.labels(STAGE, "apply").time():
            scope.in_doubt = True
            update = replace(decision.update, beliefs=beliefs.pack() if beliefs.rows > scope.beliefs.rows else None)
            applied = self._store.apply(scope.name, owned.number, owned.epoch, offset, update)
            scope.in_doubt = False
        if not applied:
            _log.info("already applied", partition=owned.number, offset=offset)

    def _collect(self) -> list[Outgoing]:
        """Everything in the outboxes of the owned scopes, and the present state of the clusters it tells of."""
        outgoing: list[Outgoing] = []
        owed: dict[str, tuple[_Scope, int]] = {}
        topics = self._settings.topics
        for owned in self._partitions.values():
            for scope in owned.scopes.values():
                if not scope.dirty:
                    continue
                entries = self._store.outbox(scope.name)
                if not entries:
                    scope.dirty = False
                    continue
                names = {"events": topics.events, "possible": topics.possible}
                outgoing += [
                    word_message(e, self._settings.vectors_topic, owned.number)
                    if e.stream == "words"
                    else Outgoing(names[e.stream], e.key.encode(), e.value)
                    for _, e in entries
                ]
                changed = sorted({e.key for _, e in entries if e.stream == "events"})
                renderer = EventRenderer(self._settings.profile, scope.name, self._config)
                now = self._store.clusters(scope.name, changed)
                outgoing += [Outgoing(topics.clusters, cid.encode(), renderer.state(cid, c)) for cid, c in now.items()]
                owed[scope.name] = scope, entries[-1][0]
        # only now: where the store failed on the way, this is called again and must find all of it
        for scope, sequence in owed.values():
            scope.owed = sequence
        return outgoing

    # upkeep

    def _beliefs(self, scope: str) -> Beliefs:
        packed = self._store.beliefs(scope)
        return Beliefs() if packed is None else Beliefs.unpack(packed)

    def _claim(self, scope: str, owned: _Partition) -> int:
        return self._store.claim(scope, owned.number, owned.epoch)

    def _snapshot(self, owned: _Partition) -> None:
        scopes = {s.name: (s.index, s.applied) for s in owned.scopes.values()}
        self._snapshots.save(owned.number, self._settings.fingerprint, owned.next_offset, scopes)
        owned.since_snapshot = 0

    def _count(self) -> None:
        METRICS.partitions.labels(STAGE).set(len(self._partitions))
        shifts = (s.beliefs.shift for p in self._partitions.values() for s in p.scopes.values())
        METRICS.prior_shift.set(max(shifts, key=abs, default=0.0))
        METRICS.redo_depth.set(sum(s.waiting for p in self._partitions.values() for s in p.scopes.values()))
        METRICS.index_records.set(sum(len(s.index) for p in self._partitions.values() for s in p.scopes.values()))
