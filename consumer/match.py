"""The match stage: vectors → cluster events. Owns the scopes of its partitions; their index is a replayed view.

One batch of one scope: drop what was seen before → search → score → decide → apply to the store (atomic, fenced) →
update the index → send the outbox. A crash after any step repeats the batch to the same end: what was applied is
recognised by its offset and only indexed, what was not sent is still in the outbox, and what was sent is below the
offset that the group committed with it.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from consumer.beliefs import Beliefs
from consumer.decisions import Decisions
from consumer.denial import denials
from consumer.errors import RejectedError
from consumer.fusion import Fusion
from consumer.late import ScopeBefore, restated
from consumer.loop import Result
from consumer.match_settings import MatchSettings
from consumer.metrics import METRICS
from consumer.minter import generation_key
from consumer.neighbours import match_rows
from consumer.outbox import Outbox
from consumer.owned import OwnedPartition, OwnedScope
from consumer.ownership import Ownership
from consumer.ports import ClusterStore, SnapshotStore, VectorIndex
from consumer.records import (
    Erasure,
    Match,
    Message,
    OutboxEntry,
    Outgoing,
    Position,
    Rejected,
    Tick,
)
from consumer.routing import route
from consumer.rows import BLOCK_OFFSETS, Row, block_of, blocks, bring_up_to_date, fresh_rows, is_current
from consumer.tally import count_decided, count_owned
from consumer.vectors import tick_message, unpack
from consumer.whitening import renewed

STAGE = "match"
_log = structlog.get_logger()


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
        self._owned = Ownership(settings, self._spans, store, snapshots, new_index, committed)
        self._partitions = self._owned.partitions
        self._position = position
        self._now_ms = now_ms
        deciding = f"{settings.fingerprint} {fusion.fingerprint}".encode()
        self._config = hashlib.blake2b(deciding, digest_size=8).hexdigest()
        self._decisions = Decisions(store, settings.policy, settings.profile, self._config, settings.mint_key)
        self._outbox = Outbox(store, settings.profile, self._config, settings.topics, settings.vectors_topic)
        self._in_doubt = False
        """What became of the last result is not known."""
        self._only: int | None = None
        """The partition that the last messages were of, all of them."""
        self._idle = False
        self._rejected: list[Rejected] = []
        self._ingested_ms: list[int] = []
        self._to_tick: list[OwnedScope] = []
        self._due: list[OwnedPartition] = []
        """What a snapshot is to be made of once the result is delivered."""

    def mint_with(self, generation: str) -> None:
        """Mint ids of clusters with this beside the key: see `consumer.minter.generation_key`."""
        self._decisions.mint_key = generation_key(self._settings.mint_key, generation)

    @property
    def config(self) -> str:
        """Digest of all that decides, as events show it."""
        return self._config

    # ownership

    def assigned(self, partition: int, high_watermark: int) -> int:
        """Take a partition over and return the offset to read from: see `Ownership.take`."""
        return self._owned.take(partition, high_watermark)

    def given_back(self, partitions: Iterable[int]) -> None:
        """Undo `assigned` for these, since it failed for one of them; some were perhaps never taken over."""
        self._owned.give_back(partitions)

    def revoked(self, partition: int, *, lost: bool) -> bool:
        """Let a partition go; with a snapshot, unless it was lost to another owner already. True where one was made."""
        return self._owned.release(partition, lost=lost)

    def ready(self) -> bool:
        """True once the indexes hold what was there when their partitions were assigned."""
        return all(p.next_offset >= p.target for p in self._partitions.values())

    def close(self) -> None:
        """Let every partition go, each with a snapshot."""
        for number in list(self._partitions):
            self.revoked(number, lost=False)

    # a batch

    def room(self, limit: int) -> int:
        """How many messages to take next: at most `limit`, and where they come from one partition no more than to the end of a block.

        A batch across that would be worked off in two parts, and the first not be delivered while the graph, which the
        second needs, takes in the block before.
        """
        only = None if self._only is None else self._partitions.get(self._only)
        return limit if only is None else min(limit, BLOCK_OFFSETS - only.next_offset % BLOCK_OFFSETS)

    def process(self, messages: Sequence[Message]) -> None:
        if self._in_doubt:
            self._owned.refresh_told()
            self._in_doubt = False
        self._idle, self._rejected, self._ingested_ms = not messages, [], []
        by_partition: dict[int, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(message.position.partition, []).append(message)
        if messages:
            self._only = messages[0].position.partition if len(by_partition) == 1 else None
        for number, batch in by_partition.items():
            owned = self._partitions[number]
            next_offset = batch[-1].position.offset + 1
            for name, rows in self._route(owned, batch).items():
                scope = owned.scopes[name]
                news = [row.item for row in rows if row.position.offset >= owned.counted]
                self._ingested_ms += [item.ingested_ms for item in news if not isinstance(item, Tick)]
                for block, part in blocks(rows):
                    self._process_scope(owned, scope, part, ends=block < next_offset // BLOCK_OFFSETS)
            owned.since_snapshot += len(batch)
            owned.next_offset = next_offset
        for owned in self._partitions.values():
            if owned.number not in by_partition:
                # the source's own position also passes what compaction removed and a transaction's markers
                owned.next_offset = max(owned.next_offset, self._position(owned.number) or 0)

    def result(self) -> Result:
        for owned in self._partitions.values():
            owned.handed = max(owned.told, owned.next_offset)
        outgoing = [*self._outbox.collect(self._partitions.values()), *self._ticks()]
        self._due = self._owned.due(self._now_ms())
        # a snapshot that is made while the next batch is in the indexes would have a replay take that in twice
        return Result(outgoing, self._rejected, self._done(), self._ingested_ms, alone=bool(self._due))

    def _ticks(self) -> list[Outgoing]:
        """To scopes with something on their redo queue and no row that would work it off."""
        owned = self._partitions.values() if self._idle and self.ready() else ()
        waiting = [(p, scope) for p in owned for scope in p.scopes.values() if scope.waiting and not scope.ticking]
        self._to_tick = [scope for _, scope in waiting]
        return [tick_message(scope.name, self._settings.vectors_topic, p.number) for p, scope in waiting]

    def _done(self) -> list[Position]:
        topic, owned = self._settings.vectors_topic, self._partitions.values()
        return [Position(topic, p.number, p.handed - 1) for p in owned if p.handed > p.told]

    def confirm(self) -> None:
        """Raises FencedError when another matcher took one of our partitions over."""
        self._owned.confirm()

    def delivered(self) -> None:
        for ticked in self._to_tick:
            ticked.ticking = True
        for owned in self._partitions.values():
            # a partition may have come since the batch was made: nothing of it was in the delivery
            owned.told = owned.counted = max(owned.told, owned.handed)
            for scope in owned.scopes.values():
                if scope.owed >= 0:
                    self._store.acknowledge(scope.name, owned.epoch, scope.owed)
                    scope.owed = -1
        for owned in self._due:
            if self._partitions.get(owned.number) is owned:
                self._owned.snapshot(owned)
        self._due = []
        count_owned(self._partitions.values())

    def undelivered(self) -> None:
        self._in_doubt = True
        for owned in self._partitions.values():
            for scope in owned.scopes.values():
                scope.dirty = scope.dirty or scope.owed >= 0

    def _route(self, owned: OwnedPartition, batch: Sequence[Message]) -> Mapping[str, list[Row]]:
        """Messages of a partition as rows of their scopes, which are claimed where they are new."""
        unpacked: list[Row] = []
        for message in batch:
            try:
                item = unpack(message, self._settings.fingerprint, self._fusion.layout.dim)
                unpacked.append(Row(item, message.position))
            except RejectedError as error:
                if message.position.offset >= owned.told:  # else its dead letter was sent
                    self._rejected.append(Rejected(message, STAGE, str(error)))
        for name in {row.item.scope: None for row in unpacked if not isinstance(row.item, Erasure)}:
            self._owned.open_scope(owned, name)
        held = {name: (scope.index, scope.applied) for name, scope in owned.scopes.items()}
        return route(unpacked, held, self._store, everywhere=self._settings.deny_erased)

    def _process_scope(self, owned: OwnedPartition, scope: OwnedScope, rows: Sequence[Row], *, ends: bool) -> None:
        """Rows of one block, and whether the block ends with them."""
        step = METRICS.step_seconds.labels
        self._owned.clear_doubt(owned, scope)
        with step(STAGE, "read").time():
            known = self._store.known(scope.name, list({record_id for row in rows for record_id in row.records}))
        if owned.erased_ms is None and any(isinstance(r.item, Erasure) and r.item.id in scope.index for r in rows):
            owned.erased_ms = self._now_ms()
        replayed = [row for row in rows if row.position.offset <= scope.applied]
        missing = [row for row in replayed if row.position.offset > scope.indexed and is_current(row, known)]
        bring_up_to_date(scope.index, missing)
        scope.indexed = max([scope.indexed, *(row.position.offset for row in replayed)])
        # looked for in all rows: a tick that was written although its answer was lost comes back as a replayed row
        scope.ticking = scope.ticking and not any(isinstance(row.item, Tick) for row in rows)
        live = rows[len(replayed) :]
        if not live:
            return
        denied: list[Row] = []
        fresh = fresh_rows(live, known, denied if self._settings.deny_erased else None)
        METRICS.stale.inc(len(live) - len(fresh) - len(denied))
        with step(STAGE, "match").time():
            scope.index.turn_to(block_of(live[0]))
            beliefs = scope.beliefs.copy()
            if block_of(live[0]) > scope.applied // BLOCK_OFFSETS:  # once a block, however it is batched
                beliefs.whitening = renewed(beliefs.whitening, scope.index, self._spans)
            if ends:
                scope.index.last_search()
            matches = match_rows(fresh, scope.index, self._fusion, beliefs, self._settings.neighbours)
        before = ScopeBefore(scope.name, self._settings.fingerprint, known, scope.index)
        back = [*denials(denied), *restated(live, fresh, before)]
        self._apply(owned, scope, fresh, matches, beliefs, live[-1].position.offset, back)
        scope.beliefs = beliefs
        with step(STAGE, "index").time():
            bring_up_to_date(scope.index, fresh)
        scope.dirty = True
        scope.applied = scope.indexed = live[-1].position.offset

    def _apply(
        self,
        owned: OwnedPartition,
        scope: OwnedScope,
        rows: Sequence[Row],
        matches: Sequence[Sequence[Match]],
        beliefs: Beliefs,
        offset: int,
        back: Sequence[OutboxEntry],
    ) -> None:
        """Turn matches into changes and write them. Rows may be empty: the offset still counts as applied.

        `back` is what the vectors topic is told beside what was decided.
        """
        decision = self._decisions.make(scope.name, rows, matches, scope.index, self._fusion.layout.dim)
        scope.waiting = decision.waiting
        with METRICS.step_seconds.labels(STAGE, "apply").time():
            scope.in_doubt = True
            learnt = beliefs.pack() if beliefs.rows > scope.beliefs.rows else None
            outbox = [*decision.update.outbox, *back]
            common = None if beliefs.whitening is scope.beliefs.whitening else beliefs.whitening.pack()
            update = replace(decision.update, beliefs=learnt, whitening=common, outbox=outbox)
            applied = self._store.apply(scope.name, owned.number, owned.epoch, offset, update, scope.applied)
            scope.in_doubt = False
        count_decided(rows, matches, decision.changes)
        if not applied:
            _log.info("already applied", partition=owned.number, offset=offset)
