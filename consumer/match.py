"""The match stage: vectors → cluster events. Owns the scopes of its partitions; their index is a replayed view.

One batch of one scope: drop what was seen before → search → score → decide → apply to the store (atomic, fenced) →
update the index → send the outbox. A crash after any step repeats the batch to the same end: what was applied is
recognised by its offset and only indexed, what was not sent is still in the outbox, and what was sent is below the
offset that the group committed with it.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from consumer.beliefs import Beliefs
from consumer.decisions import Decisions, Policy
from consumer.denial import denials
from consumer.errors import FencedError, RejectedError, SettingsError, StoreError
from consumer.fusion import Fusion
from consumer.loop import Result
from consumer.metrics import METRICS
from consumer.minter import generation_key
from consumer.neighbours import match_rows
from consumer.outbox import MatchTopics, Outbox
from consumer.owned import OwnedPartition, OwnedScope
from consumer.ports import ClusterStore, SnapshotStore, VectorIndex, lost_writes
from consumer.records import (
    Erasure,
    Match,
    Message,
    Position,
    Rejected,
    Tick,
)
from consumer.routing import route
from consumer.rows import BLOCK_OFFSETS, Row, block_of, blocks, bring_up_to_date, fresh_rows, is_current
from consumer.tally import count_decided, count_owned, count_released
from consumer.vectors import tick_message, unpack
from consumer.whitening import Whitening, renewed

STAGE = "match"
_log = structlog.get_logger()


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
    erased_snapshot_ms: int = 3_600_000
    """A snapshot that may hold an erased record is replaced after so long."""
    deny_erased: bool = False
    """Records that were erased are not taken in when they come again."""


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
        committed: Callable[[int], int] = lambda _: 0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self._fusion = fusion
        self._spans = fusion.layout.spans(fusion.whitened)
        self._store = store
        self._snapshots = snapshots
        self._new_index = new_index
        self._position = position
        self._committed = committed
        self._now_ms = now_ms
        deciding = f"{settings.fingerprint} {fusion.fingerprint}".encode()
        self._config = hashlib.blake2b(deciding, digest_size=8).hexdigest()
        self._decisions = Decisions(store, settings.policy, settings.profile, self._config, settings.mint_key)
        self._outbox = Outbox(store, settings.profile, self._config, settings.topics, settings.vectors_topic)
        self._partitions: dict[int, OwnedPartition] = {}
        self._undelivered = False
        self._room = 0
        self._backlog: int | None = None
        """The partition that filled the last batch."""
        self._to_tick: list[tuple[OwnedPartition, OwnedScope]] = []
        self._ingested_ms: list[int] = []

    def mint_with(self, generation: str) -> None:
        """Mint ids of clusters with this beside the key: see `consumer.minter.generation_key`."""
        self._decisions.mint_key = generation_key(self._settings.mint_key, generation)

    @property
    def config(self) -> str:
        """Digest of all that decides, as events show it."""
        return self._config

    # ownership

    def assigned(self, partition: int, high_watermark: int) -> int:
        """Take a partition over and return the offset to read from: that of its snapshot, else 0.

        Raises SettingsError when the store knows offsets the topic does not have: the topic was made anew; and when it
        knows nothing of a partition that events were told of: its state was lost.
        """
        if self._store.epochs([partition])[partition] == 0 and (lost := self._committed(partition)):
            raise SettingsError(
                f"the store knows nothing of {self._settings.vectors_topic}[{partition}], whose events were told up to "
                f"offset {lost}: its state was lost, or redis.prefix was changed. `dedup rebuild` makes it again from "
                "the topics; to start afresh instead, use another kafka.group as well."
            )
        epoch = self._store.take_epoch(partition)
        # in this order: a transaction of the predecessor that our epoch did not stop is pending, and waited for here
        owned = OwnedPartition(partition, epoch, high_watermark, self._committed(partition))
        applied = {scope: self._claim(scope, owned) for scope in self._store.scopes(partition)}
        if (newest := max([owned.told - 1, *applied.values()])) >= high_watermark:
            raise SettingsError(
                f"offset {newest} was decided of {self._settings.vectors_topic}[{partition}], which ends at "
                f"{high_watermark}: the topic was deleted and made anew. Use another redis.prefix and kafka.group to "
                "start afresh."
            )
        snapshot = self._snapshots.load(partition, self._settings.fingerprint, applied)
        owned.next_offset = snapshot.offset if snapshot else 0
        METRICS.snapshot_offset.labels(str(partition)).set(owned.next_offset)
        for scope, offset in applied.items():
            index = snapshot.indexes.get(scope) if snapshot else None
            held = index if index is not None else self._new_index()
            waiting = self._store.read(scope, [], redo=1).waiting
            owned.scopes[scope] = OwnedScope(scope, held, offset, self._beliefs(scope), waiting=waiting)
        self._partitions[partition] = owned
        count_owned(self._partitions.values())
        _log.info("assigned", partition=partition, epoch=epoch, start=owned.next_offset, end=high_watermark)
        return owned.next_offset

    def revoked(self, partition: int, *, lost: bool) -> None:
        """Let a partition go; with a snapshot, unless it was lost to another owner already."""
        owned = self._partitions.pop(partition, None)
        if owned is not None:
            if not lost:
                self._snapshot(owned)
            count_released(partition, lost=lost)
        count_owned(self._partitions.values())

    def ready(self) -> bool:
        """True once the indexes hold what was there when their partitions were assigned."""
        return all(p.next_offset >= p.target for p in self._partitions.values())

    def close(self) -> None:
        """Snapshot everything owned."""
        for number in list(self._partitions):
            self.revoked(number, lost=False)

    # a batch

    def room(self, limit: int) -> int:
        """Of a backlog in one partition no more than to the end of a block: a batch across it is worked off in two parts."""
        behind = None if self._backlog is None else self._partitions.get(self._backlog)
        self._room = limit if behind is None else min(limit, BLOCK_OFFSETS - behind.next_offset % BLOCK_OFFSETS)
        return self._room

    def process(self, messages: Sequence[Message]) -> Result:
        if self._undelivered:
            for owned in self._partitions.values():
                owned.told = self._committed(owned.number)
        rejected: list[Rejected] = []
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(message.position.partition, []).append(message)
        full = len(by_partition) == 1 and len(messages) == self._room
        self._backlog = messages[0].position.partition if full else None
        for number, batch in by_partition.items():
            owned = self._partitions[number]
            for scope, rows in self._route(owned, batch, rejected).items():
                for block, part in blocks(rows):
                    owned.scopes[scope].index.turn_to(block)
                    self._process_scope(owned, owned.scopes[scope], part)
            owned.since_snapshot += len(batch)
            owned.next_offset = batch[-1].position.offset + 1
        for owned in self._partitions.values():
            if owned.number not in by_partition:
                # the source's own position also passes what compaction removed and a transaction's markers
                owned.next_offset = max(owned.next_offset, self._position(owned.number) or 0)
            owned.handed = max(owned.told, owned.next_offset)
        outgoing = self._outbox.collect(self._partitions.values())
        self._to_tick = [] if messages or not self.ready() else self._idle()
        topic = self._settings.vectors_topic
        outgoing += [tick_message(scope.name, topic, owned.number) for owned, scope in self._to_tick]
        self._undelivered = True
        return Result(outgoing, rejected, self._done())

    def _idle(self) -> list[tuple[OwnedPartition, OwnedScope]]:
        """Scopes with something on their redo queue and no row that would work it off."""
        owned = self._partitions.values()
        return [(p, scope) for p in owned for scope in p.scopes.values() if scope.waiting and not scope.ticking]

    def _done(self) -> list[Position]:
        topic, owned = self._settings.vectors_topic, self._partitions.values()
        return [Position(topic, p.number, p.handed - 1) for p in owned if p.handed > p.told]

    def confirm(self) -> None:
        """Raises FencedError when another matcher took one of our partitions over."""
        newest = self._store.epochs(list(self._partitions))
        for owned in self._partitions.values():
            if newest[owned.number] != owned.epoch:
                raise FencedError(
                    f"{self._settings.vectors_topic}[{owned.number}] belongs to epoch {newest[owned.number]}, this "
                    f"matcher holds epoch {owned.epoch}: another one took it over while this one stood still"
                )

    def delivered(self) -> None:
        self._undelivered = False
        now = self._now_ms()
        for _, ticked in self._to_tick:
            ticked.ticking = True
        for owned in self._partitions.values():
            # a partition may have come since the batch was made: nothing of it was in the delivery
            owned.told = max(owned.told, owned.handed)
            for scope in owned.scopes.values():
                if scope.owed >= 0:
                    self._store.acknowledge(scope.name, owned.epoch, scope.owed)
                    scope.owed, scope.dirty = -1, scope.owes_more
            overdue = owned.erased_ms is not None and now - owned.erased_ms >= self._settings.erased_snapshot_ms
            if overdue or owned.since_snapshot >= self._settings.snapshot_records:
                self._snapshot(owned)
        latency = METRICS.latency_seconds.labels(STAGE)
        for ingested_ms in self._ingested_ms:
            latency.observe(max(0, now - ingested_ms) / 1000)
        self._ingested_ms.clear()
        count_owned(self._partitions.values())

    def _route(
        self, owned: OwnedPartition, batch: Sequence[Message], rejected: list[Rejected]
    ) -> Mapping[str, list[Row]]:
        """Messages of a partition as rows of their scopes, which are claimed where they are new."""
        unpacked: list[Row] = []
        for message in batch:
            try:
                item = unpack(message, self._settings.fingerprint, self._fusion.layout.dim)
                unpacked.append(Row(item, message.position))
            except RejectedError as error:
                if message.position.offset >= owned.told:  # else its dead letter was sent
                    rejected.append(Rejected(message, STAGE, str(error)))
        for name in {row.item.scope: None for row in unpacked if not isinstance(row.item, Erasure)}:
            if name not in owned.scopes:
                owned.scopes[name] = OwnedScope(name, self._new_index(), self._claim(name, owned), self._beliefs(name))
        held = {name: (scope.index, scope.applied) for name, scope in owned.scopes.items()}
        return route(unpacked, held, self._store, everywhere=self._settings.deny_erased)

    def _process_scope(self, owned: OwnedPartition, scope: OwnedScope, rows: Sequence[Row]) -> None:
        step = METRICS.step_seconds.labels
        if scope.in_doubt:
            if (applied := self._claim(scope.name, owned)) < scope.applied:
                raise lost_writes(scope.name, applied, scope.applied)
            scope.applied = applied
            scope.beliefs = self._beliefs(scope.name)
            scope.dirty = True  # what was written after all has left its events
            scope.in_doubt = False
        with step(STAGE, "read").time():
            known = self._store.known(scope.name, list({record_id for row in rows for record_id in row.records}))
        if owned.erased_ms is None and any(isinstance(r.item, Erasure) and r.item.id in scope.index for r in rows):
            owned.erased_ms = self._now_ms()
        replayed = [row for row in rows if row.position.offset <= scope.applied]
        missing = [row for row in replayed if row.position.offset > scope.indexed and is_current(row, known)]
        bring_up_to_date(scope.index, missing)
        scope.indexed = max([scope.indexed, *(row.position.offset for row in replayed)])
        live = rows[len(replayed) :]
        if not live:
            return
        denied: list[Row] = []
        fresh = fresh_rows(live, known, denied if self._settings.deny_erased else None)
        METRICS.stale.inc(len(live) - len(fresh) - len(denied))
        with step(STAGE, "match").time():
            beliefs = scope.beliefs.copy()
            if block_of(live[0]) > scope.applied // BLOCK_OFFSETS:  # once a block, however it is batched
                beliefs.whitening = renewed(beliefs.whitening, scope.index, self._spans)
            matches = match_rows(fresh, scope.index, self._fusion, beliefs, self._settings.neighbours)
        self._apply(owned, scope, fresh, matches, beliefs, live[-1].position.offset, denied)
        scope.beliefs = beliefs
        with step(STAGE, "index").time():
            bring_up_to_date(scope.index, fresh)
        scope.dirty = True
        scope.applied = scope.indexed = live[-1].position.offset
        scope.ticking = scope.ticking and not any(isinstance(row.item, Tick) for row in live)
        self._ingested_ms += [row.item.ingested_ms for row in live if not isinstance(row.item, Tick)]

    def _apply(
        self,
        owned: OwnedPartition,
        scope: OwnedScope,
        rows: Sequence[Row],
        matches: Sequence[Sequence[Match]],
        beliefs: Beliefs,
        offset: int,
        denied: Sequence[Row],
    ) -> None:
        """Turn matches into changes and write them. Rows may be empty: the offset still counts as applied.

        The topic is told to lose what was denied.
        """
        decision = self._decisions.make(scope.name, rows, matches, scope.index, self._fusion.layout.dim)
        scope.waiting = decision.waiting
        with METRICS.step_seconds.labels(STAGE, "apply").time():
            scope.in_doubt = True
            learnt = beliefs.pack() if beliefs.rows > scope.beliefs.rows else None
            outbox = [*decision.update.outbox, *denials(denied)]
            common = None if beliefs.whitening is scope.beliefs.whitening else beliefs.whitening.pack()
            update = replace(decision.update, beliefs=learnt, whitening=common, outbox=outbox)
            applied = self._store.apply(scope.name, owned.number, owned.epoch, offset, update, scope.applied)
            scope.in_doubt = False
        count_decided(rows, matches, decision.changes)
        if not applied:
            _log.info("already applied", partition=owned.number, offset=offset)

    # upkeep

    def _beliefs(self, scope: str) -> Beliefs:
        packed, common = self._store.beliefs(scope)
        whitening = Whitening() if common is None else Whitening.unpack(common, self._spans)
        return Beliefs(whitening=whitening) if packed is None else Beliefs.unpack(packed, whitening)

    def _claim(self, scope: str, owned: OwnedPartition) -> int:
        return self._store.claim(scope, owned.number, owned.epoch)

    def _snapshot(self, owned: OwnedPartition) -> None:
        try:
            behind = any(self._store.applied(s.name, owned.number) < s.applied for s in owned.scopes.values())
        except StoreError as error:
            _log.warning("no snapshot", partition=owned.number, reason=str(error))
            return
        if behind:  # it lost writes: a replay beside it left out what it no longer knew
            _log.warning("no snapshot", partition=owned.number, reason="the store is older than the index")
            return
        scopes = {s.name: (s.index, s.applied) for s in owned.scopes.values()}
        # not behind what was not told yet: the dead letters of it are nowhere else
        offset = min(owned.next_offset, owned.told)
        self._snapshots.save(owned.number, self._settings.fingerprint, offset, scopes)
        owned.since_snapshot, owned.erased_ms = 0, None
