"""The hot standby: a snapshot store that keeps, beside what it wraps, the indexes of partitions that others own.

A thread calls `turn` over and over; the matcher's thread calls the rest. What is handed over is no longer kept, and what
the matcher lets go is kept on, so a partition is in memory once.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import structlog

from consumer.errors import TransientError
from consumer.kept import Kept, advance, kept_from, look, row_reader
from consumer.loop import Pulse
from consumer.metrics import METRICS
from consumer.ports import ClusterStore, Snapshot, SnapshotStore, Tail, VectorIndex

STAGE = "standby"
_BATCH_RECORDS = 256
_AHEAD_RECORDS = 1024
"""Read and not yet decided, per partition: more is not asked for."""
_POLL_SECONDS = 0.2
_SETTLE_SECONDS = 3.0
"""The group gives partitions out meanwhile; what this process owns is not to be loaded twice."""
_WAIT_SECONDS = 1.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StandbySettings:
    """What a standby needs to know."""

    fingerprint: str
    dim: int
    max_age_seconds: float
    """So long after it last held all that was decided, an index is begun anew: null values may be gone meanwhile."""
    save_records: int | None
    """Messages between two snapshots of what is kept; None where its owner's snapshots can be read from here."""
    erased_seconds: float
    """A snapshot that may hold an erased record is replaced after so long."""


class Standby:
    """Implements `SnapshotStore`; `given_back` and `released` tell it the rest of what becomes of partitions."""

    def __init__(
        self,
        settings: StandbySettings,
        tail: Tail,
        store: ClusterStore,
        snapshots: SnapshotStore,
        new_index: Callable[[], VectorIndex],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._tail = tail
        self._store = store
        self._snapshots = snapshots
        self._new_index = new_index
        self._now = now
        self._read = row_reader(settings.fingerprint, settings.dim)
        self._lock = threading.Lock()
        self._kept: dict[int, Kept] = {}
        self._owned: set[int] = set()
        self._lent: dict[int, Kept] = {}
        self._saved: dict[int, Kept] = {}
        self._unsaved: list[int] = []

    # the matcher's thread

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        """What is kept of the partition, else what the store of snapshots has. From now on it is the caller's."""
        with self._lock:
            self._owned.add(partition)
            kept = self._kept.pop(partition, None)
            if kept is not None and self._is_fit(kept, fingerprint, applied):
                self._lent[partition] = kept
                if kept.erased is not None:  # the snapshot in place, be it of its owner, may hold who was erased
                    self._unsaved.append(partition)
                _log.info("standby handed over", partition=partition, offset=kept.offset, scopes=len(kept.indexes))
                return Snapshot(kept.offset, kept.indexes)
        if kept is not None:
            _log.warning("standby not used: too old, or the store has less than its index", partition=partition)
        return self._snapshots.load(partition, fingerprint, applied)

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        self._snapshots.save(partition, fingerprint, offset, scopes)
        indexes = {scope: index for scope, (index, _) in scopes.items()}
        applied = {scope: last for scope, (_, last) in scopes.items()}
        with self._lock:
            self._saved[partition] = Kept(offset, indexes, applied, self._now())

    def unsaved(self) -> Collection[int]:
        """As the port says; those of them that are kept here are noted here, too."""
        if not self._lock.acquire(blocking=False):  # while a snapshot is staged, for seconds: asked again soon
            return ()
        try:
            due, self._unsaved = [*self._unsaved, *self._snapshots.unsaved()], []
            for partition in due:
                if (kept := self._kept.get(partition)) is not None and kept.erased is None:
                    kept.erased = self._now()
        finally:
            self._lock.release()
        return due

    def given_back(self, partitions: Iterable[int]) -> None:
        """Partitions that `load` was called for were not taken over after all; what was handed over was not touched."""
        with self._lock:
            for partition in partitions:
                self._owned.discard(partition)
                if (lent := self._lent.pop(partition, None)) is not None:
                    self._kept[partition] = lent

    def released(self, partition: int, *, saved: bool) -> None:
        """The matcher has let a partition go, its index just `save`d; or not, and nothing is known of its index."""
        with self._lock:
            self._owned.discard(partition)
            self._lent.pop(partition, None)
            kept = self._saved.pop(partition, None)
            if kept is not None and saved:
                self._kept[partition] = kept

    def ready(self) -> bool:
        """True once every partition of others was caught up with."""
        with self._lock:
            missing = set(self._tail.partitions()) - self._owned - self._kept.keys()
            return not missing and all(kept.ready for kept in self._kept.values())

    # the thread of its own

    def turn(self, timeout_seconds: float) -> None:
        """Read on, and index what was decided. Raises TransientError."""
        self._begin()
        with self._lock:
            starts = {n: kept.read_offset for n, kept in self._kept.items() if len(kept.ahead) < _AHEAD_RECORDS}
            followed = dict(self._kept)
        for message in self._tail.read(starts, _BATCH_RECORDS, timeout_seconds):
            number, offset = message.position.partition, message.position.offset
            if offset < followed[number].read_offset:
                self._drop(number, followed[number], "the topic was made anew")
            else:
                followed[number].ahead.append(message)
        decided = self._tail.committed()
        for number, kept in followed.items():
            self._advance(number, kept, decided.get(number, 0))
        self._measure()

    def _is_fit(self, kept: Kept, fingerprint: str, applied: Mapping[str, int]) -> bool:
        return fingerprint == self._settings.fingerprint and kept.fits(applied) and not self._is_spent(kept)

    def _is_spent(self, kept: Kept) -> bool:
        return self._now() - kept.seen > self._settings.max_age_seconds

    def _begin(self) -> None:
        for number in self._tail.partitions():
            with self._lock:
                wanted = number not in self._owned and number not in self._kept
            if not wanted:
                continue
            applied = {scope: self._store.applied(scope, number) for scope in self._store.scopes(number)}
            snapshot = self._snapshots.load(number, self._settings.fingerprint, applied)
            with self._lock:
                if number not in self._owned and number not in self._kept:
                    self._kept[number] = kept_from(snapshot, applied, self._now())
                    _log.info("standby follows", partition=number, start=self._kept[number].offset)

    def _advance(self, number: int, kept: Kept, decided: int) -> None:
        while True:
            step = look(kept, decided, _BATCH_RECORDS, self._store, self._read)
            with self._lock:
                if self._kept.get(number) is not kept:
                    return  # the matcher has it
                advance(kept, step, self._new_index, self._now())
                more = bool(step.messages)
                if not more and (kept.ahead or not self._tail.behind(number)):
                    kept.seen, kept.ready = self._now(), True
            if not more:
                break
        if self._is_spent(kept):
            self._drop(number, kept, "it was behind for so long that erasures may be gone from the topic")
        elif self._is_due(kept):
            self._save(number, kept)

    def _is_due(self, kept: Kept) -> bool:
        if self._settings.save_records is None:
            return False
        overdue = kept.erased is not None and self._now() - kept.erased >= self._settings.erased_seconds
        return overdue or kept.moved >= self._settings.save_records

    def _drop(self, number: int, kept: Kept, reason: str) -> None:
        with self._lock:
            if self._kept.get(number) is kept:
                del self._kept[number]
                _log.warning("standby begins anew", partition=number, reason=reason)

    def _save(self, number: int, kept: Kept) -> None:
        with self._lock:
            if self._kept.get(number) is not kept:
                return
            scopes = {scope: (index, kept.applied.get(scope, -1)) for scope, index in kept.indexes.items()}
            self._snapshots.save(number, self._settings.fingerprint, kept.offset, scopes)
            kept.moved, kept.erased = 0, None

    def _measure(self) -> None:
        with self._lock:
            METRICS.standby_lag.set(sum(len(k.ahead) + self._tail.behind(n) for n, k in self._kept.items()))
            METRICS.standby_records.set(sum(len(i) for k in self._kept.values() for i in k.indexes.values()))


class StandbyLoop:
    """Turns a standby until told to stop, and waits where a service is away."""

    def __init__(self, standby: Standby, stop: threading.Event) -> None:
        self._standby = standby
        self._stop = stop
        self.pulse = Pulse()

    def run(self) -> None:
        """Raises what is not TransientError."""
        self._stop.wait(_SETTLE_SECONDS)
        while not self._stop.is_set():
            self.turn()

    def turn(self) -> None:
        try:
            self._standby.turn(_POLL_SECONDS)
        except TransientError as error:
            self.pulse.waits(STAGE, str(error))
            self._stop.wait(_WAIT_SECONDS)
            return
        self.pulse.waits(STAGE, "")
        self.pulse.ready = self._standby.ready()
        METRICS.ready.labels(STAGE).set(self.pulse.ready)
