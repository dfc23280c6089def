"""The partitions of one matcher: taken over with what a snapshot and the store know of them, and let go with a snapshot."""

from collections.abc import Callable, Iterable, Sequence

import structlog

from consumer.beliefs import Beliefs
from consumer.errors import FencedError, SettingsError, StoreError
from consumer.match_settings import MatchSettings
from consumer.metrics import METRICS
from consumer.owned import OwnedPartition, OwnedScope
from consumer.ports import ClusterStore, SnapshotStore, VectorIndex, lost_writes
from consumer.tally import count_owned, count_released
from consumer.whitening import Span, Whitening

_log = structlog.get_logger()


class Ownership:
    """Which partitions are ours, and what is known of them.

    `committed` gives the offset that the group committed of a partition: everything before it is decided and told.
    """

    def __init__(
        self,
        settings: MatchSettings,
        spans: Sequence[Span],
        store: ClusterStore,
        snapshots: SnapshotStore,
        new_index: Callable[[], VectorIndex],
        committed: Callable[[int], int],
    ) -> None:
        self._settings = settings
        self._spans = spans
        self._store = store
        self._snapshots = snapshots
        self._new_index = new_index
        self._committed = committed
        self.partitions: dict[int, OwnedPartition] = {}

    def take(self, partition: int, high_watermark: int) -> int:
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
        told = self._committed(partition)
        owned = OwnedPartition(partition, epoch, high_watermark, told, told)
        applied = {scope: self._claim(scope, owned) for scope in self._store.scopes(partition)}
        if (newest := max([owned.told - 1, *applied.values()])) >= high_watermark:
            raise SettingsError(
                f"offset {newest} was decided of {self._settings.vectors_topic}[{partition}], which ends at "
                f"{high_watermark}: the topic was deleted and made anew. Encode again into a new one (docs/recovery.md) to "
                "keep clusters; use another redis.prefix and kafka.group to start afresh."
            )
        snapshot = self._snapshots.load(partition, self._settings.fingerprint, applied)
        owned.next_offset = snapshot.offset if snapshot else 0
        METRICS.snapshot_offset.labels(str(partition)).set(owned.next_offset)
        for scope, offset in applied.items():
            index = snapshot.indexes.get(scope) if snapshot else None
            held = index if index is not None else self._new_index()
            waiting = self._store.read(scope, [], redo=1).waiting
            owned.scopes[scope] = OwnedScope(scope, held, offset, self._beliefs(scope), waiting=waiting)
        self.partitions[partition] = owned
        count_owned(self.partitions.values())
        _log.info("assigned", partition=partition, epoch=epoch, start=owned.next_offset, end=high_watermark)
        return owned.next_offset

    def give_back(self, partitions: Iterable[int]) -> None:
        """Undo `take` for these; some were perhaps never taken."""
        for partition in partitions:
            self.partitions.pop(partition, None)
        count_owned(self.partitions.values())

    def release(self, partition: int, *, lost: bool) -> bool:
        """Let a partition go; with a snapshot, unless it was lost to another owner already. True where one was made."""
        owned = self.partitions.pop(partition, None)
        saved = owned is not None and not lost and self.snapshot(owned)
        if owned is not None:
            count_released(partition, lost=lost)
        count_owned(self.partitions.values())
        return saved

    def confirm(self) -> None:
        """Raises FencedError when another matcher took one of the partitions over."""
        newest = self._store.epochs(list(self.partitions))
        for owned in self.partitions.values():
            if newest[owned.number] != owned.epoch:
                raise FencedError(
                    f"{self._settings.vectors_topic}[{owned.number}] belongs to epoch {newest[owned.number]}, this "
                    f"matcher holds epoch {owned.epoch}: another one took it over while this one stood still"
                )

    def refresh_told(self) -> None:
        """Read the committed offsets anew: how the last delivery ended is not known."""
        for owned in self.partitions.values():
            owned.told = self._committed(owned.number)

    def open_scope(self, owned: OwnedPartition, name: str) -> None:
        """Claim a scope of a partition where it is new."""
        if name not in owned.scopes:
            owned.scopes[name] = OwnedScope(name, self._new_index(), self._claim(name, owned), self._beliefs(name))

    def clear_doubt(self, owned: OwnedPartition, scope: OwnedScope) -> None:
        """Where a write was tried whose answer never came, learn from the store how far it is. Raises LostWritesError."""
        if not scope.in_doubt:
            return
        if (applied := self._claim(scope.name, owned)) < scope.applied:
            raise lost_writes(scope.name, applied, scope.applied)
        scope.applied = applied
        scope.beliefs = self._beliefs(scope.name)
        scope.dirty = True  # what was written after all has left its events
        scope.in_doubt = False

    def due(self, now_ms: int) -> list[OwnedPartition]:
        """Those of which a snapshot is: after so many messages, so long after an erasure, or after one that could not be written."""
        for partition in self._snapshots.unsaved():
            if (owned := self.partitions.get(partition)) is not None and owned.erased_ms is None:
                owned.erased_ms = now_ms
        before_ms, records = now_ms - self._settings.erased_snapshot_ms, self._settings.snapshot_records
        return [
            owned
            for owned in self.partitions.values()
            if owned.since_snapshot >= records or (owned.erased_ms is not None and owned.erased_ms <= before_ms)
        ]

    def snapshot(self, owned: OwnedPartition) -> bool:
        """Write one, unless the store is behind the indexes; then False."""
        try:
            behind = any(self._store.applied(s.name, owned.number) < s.applied for s in owned.scopes.values())
        except StoreError as error:
            _log.warning("no snapshot", partition=owned.number, reason=str(error))
            return False
        if behind:  # it lost writes: a replay over it left out what it no longer knew
            _log.warning("no snapshot", partition=owned.number, reason="the store is older than the index")
            return False
        scopes = {s.name: (s.index, s.applied) for s in owned.scopes.values()}
        # not behind what was not told yet: the dead letters of it are nowhere else
        offset = min(owned.next_offset, owned.told)
        self._snapshots.save(owned.number, self._settings.fingerprint, offset, scopes)
        owned.since_snapshot, owned.erased_ms = 0, None
        return True

    def _beliefs(self, scope: str) -> Beliefs:
        packed, common = self._store.beliefs(scope)
        whitening = Whitening() if common is None else Whitening.unpack(common, self._spans)
        return Beliefs(whitening=whitening) if packed is None else Beliefs.unpack(packed, whitening)

    def _claim(self, scope: str, owned: OwnedPartition) -> int:
        return self._store.claim(scope, owned.number, owned.epoch)
