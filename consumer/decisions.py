"""The matched rows of a batch of one scope → one update of the store, with the events that tell of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from consumer.clusters import Book, Change
from consumer.events import EventRenderer
from consumer.exemplar import Keeper
from consumer.merging import MergeRules
from consumer.metrics import METRICS
from consumer.minter import Minter
from consumer.ports import ClusterStore, Neighbourhood, VectorIndex
from consumer.records import Cause, Erasure, Floats, Halves, Match, OutboxEntry, ScopeUpdate, Tick, Vector, Verdict
from consumer.redo import Repair
from consumer.rows import Row
from consumer.vectors import word_entry

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Policy:
    """What a deployment chose about clusters."""

    rules: MergeRules
    repair: Repair
    exemplar_alpha: float
    """See `consumer.exemplar`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a batch comes to."""

    update: ScopeUpdate
    changes: Sequence[Change]
    waiting: int
    """Records that are on the redo queue then; perhaps fewer, never more, for one that is put may wait there already."""


class RowVectors:
    """The vectors of a scope as of the row at hand: those of the index, with earlier rows of the batch laid over them."""

    def __init__(self, index: VectorIndex, dim: int) -> None:
        self._index = index
        self._dim = dim
        self._newer: dict[str, Halves | None] = {}

    def move_to(self, row: Row) -> None:
        """Go on to the next row."""
        if isinstance(row.item, Vector):
            self._newer[row.item.id] = row.item.values
        elif isinstance(row.item, Erasure):
            self._newer[row.item.id] = None

    def __call__(self, ids: Sequence[str]) -> Floats:
        """float32 [n, dim]; a row of zeros where there is no vector."""
        found = np.zeros((len(ids), self._dim), np.float32)
        indexed = [i for i, r in enumerate(ids) if r not in self._newer and r in self._index]
        if indexed:
            found[indexed], _ = self._index.vectors([ids[i] for i in indexed])
        for i, record_id in enumerate(ids):
            if (values := self._newer.get(record_id)) is not None:
                found[i] = values
        return found


class Decisions:
    """Decides the rows of the scopes of one profile."""

    def __init__(self, store: ClusterStore, policy: Policy, profile: str, config: str, mint_key: bytes) -> None:
        self._store = store
        self._policy = policy
        self._profile = profile
        self._config = config
        self.mint_key = mint_key

    def make(
        self, scope: str, rows: Sequence[Row], matches: Sequence[Sequence[Match]], index: VectorIndex, dim: int
    ) -> Decision:
        """Decide rows with the matches of each; `index` is as it was before them. Rows may be empty."""
        mint = Minter(self.mint_key, self._profile, scope)
        vectors = RowVectors(index, dim)
        with METRICS.step_seconds.labels("match", "read").time():
            state = self._read(scope, rows, matches, mint)

        def read(records: Sequence[str], cluster_ids: Sequence[str]) -> Neighbourhood:
            return self._store.read(scope, records, cluster_ids, edges=True)

        keep = Keeper(self._policy.exemplar_alpha, vectors)
        book = Book(state, mint, self._policy.rules, keep, read, self._policy.repair)
        renderer = EventRenderer(self._profile, scope, self._config)
        changes: list[Change] = []
        outbox: list[OutboxEntry] = []
        for row, found in zip(rows, matches, strict=True):
            vectors.move_to(row)
            cause = Cause(row.position, row.item.source, row.item.ingested_ms)
            for change in _feed(book, row, found, cause):
                changes.append(change)
                outbox.append(renderer.entry(change, cause))
            outbox += [word_entry(verdict, row.position.offset) for verdict in book.take_owed()]
        update = book.update(outbox)
        taken = set(update.redo_dropped).intersection(state.redo)
        return Decision(update, changes, state.waiting - len(taken) + len(update.redo_put))

    def _read(self, scope: str, rows: Sequence[Row], matches: Sequence[Sequence[Match]], mint: Minter) -> Neighbourhood:
        """What a book will need of the store: all about the rows and their duplicates; of the others that they exist."""
        touched = {record_id for row in rows for record_id in row.records}
        joining = {r for row in rows if isinstance(row.item, Verdict) for r in row.records}
        for row, found in zip(rows, matches, strict=True):
            if same := [match.id for match in found if match.duplicate]:
                joining.update(row.records, same)
        touched |= joining
        beside = {match.id for found in matches for match in found} - touched
        # as many as could be taken: an erasure takes one from anywhere, and every row its share from the beginning
        repair = self._policy.repair
        shares = (repair.redo_per_tick if isinstance(row.item, Tick) else repair.redo_per_row for row in rows)
        minted = [mint(r) for r in sorted(joining)]
        redo = sum(shares) + len(rows)
        return self._store.read(scope, sorted(touched), minted, edges=True, beside=sorted(beside), redo=redo)


def _feed(book: Book, row: Row, matches: Sequence[Match], cause: Cause) -> Sequence[Change]:
    item = row.item
    if isinstance(item, Tick):
        return book.tick(cause)
    if isinstance(item, Verdict):
        if not item.by:
            return book.unsay(item, cause)
        changes = book.rule(item, cause)
        METRICS.verdicts.labels("void" if changes is None else "obeyed").inc()
        if changes is None:
            _log.info("verdict counts for nothing", partition=row.position.partition, offset=row.position.offset)
        return changes or ()
    return book.erase(item.id, cause) if isinstance(item, Erasure) else book.upsert(item, matches, cause)
