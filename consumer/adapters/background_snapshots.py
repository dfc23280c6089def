"""Snapshots that are written while the stream goes on: what needs the index to stand still is done at once, the rest later.

Digests, the wait for the disk and an upload take as long as they take; one is under way at a time. Where they are slower
than new snapshots come, the newest of a partition replaces the one that waits. Where none comes, what nobody will read
again is removed now and then.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Final, Protocol

import structlog

from consumer.adapters.snapshot_files import Staged
from consumer.ports import Snapshot, VectorIndex

_BEAT_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 3600.0
_log = structlog.get_logger()


class Stages(Protocol):
    """A snapshot store whose `save` can be done in two steps."""

    def stage(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> Staged | None: ...

    def publish(self, staged: Staged) -> None: ...

    def discard(self, staged: Staged) -> None: ...

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None: ...

    def unsaved(self) -> Collection[int]: ...

    def sweep(self) -> None:
        """Remove what nobody will read again."""


class BackgroundSnapshots:
    """A snapshot store over another, with a thread that publishes. `close` it. `beat` is called while `load` waits."""

    def __init__(self, store: Stages, beat: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._beat = beat
        self._waiting: dict[int, Staged] = {}
        self._busy: int | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="snapshots", daemon=True)
        self._thread.start()

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        """Returns once the index may change again."""
        staged = self._store.stage(partition, fingerprint, offset, scopes)
        if staged is None:
            return
        with self._changed:
            older = self._waiting.pop(partition, None)
            self._waiting[partition] = staged
            self._changed.notify_all()
        if older is not None:
            self._store.discard(older)
            _log.info("snapshot skipped for a newer one", partition=partition, offset=older.offset)

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        """What was saved before is in place, or given up, when this looks."""
        with self._changed:
            while not self._changed.wait_for(lambda: not self._is_under_way(partition), _BEAT_SECONDS):
                self._beat()
        return self._store.load(partition, fingerprint, applied)

    def _is_under_way(self, partition: int) -> bool:
        return partition in self._waiting or partition == self._busy

    def unsaved(self) -> Collection[int]:
        return self._store.unsaved()

    def close(self, seconds: float) -> None:
        """Finish what is under way, for so long; what is not in place then never was."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if self._thread.is_alive():
            _log.error("snapshots not written in time", seconds=seconds, partitions=sorted(self._waiting))

    def _work(self) -> None:
        while (staged := self._next()) is not None:
            try:
                self._store.publish(staged)
            except Exception:  # noqa: BLE001  # a thread that ended in silence would leave `load` waiting
                _log.exception("defect", partition=staged.partition)
            finally:
                with self._changed:
                    self._busy = None
                    self._changed.notify_all()

    def _next(self) -> Staged | None:
        """What waits longest, once there is something; None at the end."""
        while not self._comes():
            with suppress(OSError):  # it is tried again
                self._store.sweep()
        with self._changed:
            if not self._waiting:
                return None
            self._busy, staged = next(iter(self._waiting.items()))
            del self._waiting[self._busy]
            return staged

    def _comes(self) -> bool:
        """Wait for a while; true when there is something to do, or nothing any more."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._waiting) or self._closing, _SWEEP_SECONDS)
