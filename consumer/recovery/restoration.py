"""One partition, replayed, beside what was told → the scopes of its store, ready to be written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from consumer.events import EventRenderer
from consumer.minter import Minter
from consumer.names import scope_partition
from consumer.ports import ClusterStore
from consumer.records import Cause, OutboxEntry, Position
from consumer.recovery.contents import Contents
from consumer.recovery.reconcile import Reconciled, reconcile
from consumer.recovery.refill import refill
from consumer.recovery.told import Told
from consumer.recovery.vectors_replay import Replayed


@dataclass(frozen=True, slots=True)
class Identity:
    """What a deployment's clusters are named by."""

    profile: str
    vectors_topic: str
    partitions: int
    mint_keys: Sequence[bytes]
    """Keys that ids of clusters were minted with, the present one first."""
    remembered_ms: int
    """Erasures before that time are forgotten."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """The scopes of one partition as they must be."""

    identity: Identity
    replayed: Replayed
    scopes: Mapping[str, Reconciled]

    def write(self, store: ClusterStore, now_ms: int) -> None:
        """Fill the store, in which there is nothing of these scopes. Raises StoreError or FencedError."""
        partition, offset = self.replayed.partition, self.replayed.offset
        epoch = store.take_epoch(partition)
        if offset == 0:
            return
        for scope, made in self.scopes.items():
            store.claim(scope, partition, epoch)
            refill(store, scope, partition, epoch, offset - 1, made.contents, self._owed(scope, made, now_ms))

    def _owed(self, scope: str, made: Reconciled, now_ms: int) -> list[OutboxEntry]:
        # as from the row that comes next, for all before it was told
        position = Position(self.identity.vectors_topic, self.replayed.partition, self.replayed.offset)
        renderer = EventRenderer(self.identity.profile, scope, self.replayed.config)
        return [renderer.entry(change, Cause(position, position, now_ms)) for change in made.owed]


def restoration(identity: Identity, replayed: Replayed, told: Told) -> Restoration:
    """Lay what was told over what was replayed, for every scope of the partition."""
    there = [s for s in told.scopes if scope_partition(s, identity.partitions) == replayed.partition]
    scopes = {}
    for scope in sorted({*replayed.scopes, *there}):
        held = _with_erasures(replayed.scopes.get(scope, Contents()), identity, replayed)
        founders = _Founders(identity, scope, held)
        scopes[scope] = reconcile(held, told.of(scope), replayed.later, founders, replayed.erased)
    return Restoration(identity, replayed, scopes)


class _Founders:
    """Cluster id → the record that it was minted from, among those that are there."""

    def __init__(self, identity: Identity, scope: str, contents: Contents) -> None:
        self._mints = [Minter(key, identity.profile, scope) for key in identity.mint_keys]
        self._records = contents.records
        self._found: dict[str, str] | None = None

    def __call__(self, cluster_id: str) -> str | None:
        if self._found is None:
            self._found = {mint(record_id): record_id for mint in self._mints for record_id in self._records}
        return self._found.get(cluster_id)


def _with_erasures(held: Contents, identity: Identity, replayed: Replayed) -> Contents:
    """With the marks of erased records whose vectors compaction took away before the replay could see them."""
    marks = {
        record_id: item.source
        for record_id, item in replayed.erased.items()
        if item.ingested_ms >= identity.remembered_ms and record_id not in held.records
    }
    return replace(held, erased={**marks, **held.erased})
