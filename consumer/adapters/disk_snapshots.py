"""Snapshots of indexes in a local folder: `<directory>/<partition>/<offset>/`, each as `snapshot_files` says.

A snapshot is written beside its final name, synced, and renamed, so that one with its name is whole.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import structlog

from consumer.adapters.snapshot_files import MANIFEST, PART, Failures, SnapshotFiles, Staged, sync
from consumer.errors import SnapshotError
from consumer.metrics import METRICS
from consumer.ports import Snapshot, VectorIndex

_Name = TypeVar("_Name", str, Path)
_log = structlog.get_logger()


class DiskSnapshots:
    """The newest snapshot of each partition, under one folder, which no other process writes to unless it is `shared`.

    `save` is `stage`, which needs the index to stand still, and `publish`, which does not: another thread may do it.
    """

    def __init__(self, directory: Path, files: SnapshotFiles, *, shared: bool = False) -> None:
        self._directory = directory
        self._files = files
        self._shared = shared
        self._staged: set[str] = set()
        self._failures = Failures()
        self._lock = threading.Lock()

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        staged = self.stage(partition, fingerprint, offset, scopes)
        if staged is not None:
            self.publish(staged)

    def stage(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> Staged | None:
        """Write the index files. None when that failed, which is logged: a full disk must not stop the stream."""
        with METRICS.snapshot_seconds.labels("stage").time():
            try:
                folder = self._begin(self._directory / str(partition))
                try:
                    return self._files.write(folder, partition, fingerprint, offset, scopes)
                except OSError:
                    self._drop(folder)
                    raise
            except OSError as error:
                self._failures.note(partition, error)
                return None

    def unsaved(self) -> Collection[int]:
        return self._failures.take()

    def _begin(self, home: Path) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        with self._lock:
            folder = home / Path(tempfile.mkdtemp(prefix=PART, dir=home)).name
            self._staged.add(folder.name)
        return folder

    def publish(self, staged: Staged) -> None:
        """Make a staged snapshot the one of its partition. A failure is logged."""
        home = staged.folder.parent
        final = home / f"{staged.offset:020d}"
        with METRICS.snapshot_seconds.labels("publish").time():
            try:
                self._files.seal(staged)
                shutil.rmtree(final, ignore_errors=True)
                staged.folder.rename(final)
                sync(home)
                self._prune(home, final)
                self.sweep()
            except OSError as error:
                self._failures.note(staged.partition, error)
                return
            finally:
                self.discard(staged)
        written(staged)

    def discard(self, staged: Staged) -> None:
        """Drop a staged snapshot, for a newer one, and what an index holds for it."""
        staged.give_up()
        self._drop(staged.folder)

    def _drop(self, folder: Path) -> None:
        """Remove what is left of a folder that was begun."""
        shutil.rmtree(folder, ignore_errors=True)
        self._staged.discard(folder.name)

    def _prune(self, home: Path, kept: Path) -> None:
        """Remove older snapshots and what crashes left, but not what is being written."""
        with self._lock:
            old = [path for path in home.iterdir() if path != kept and path.name not in self._staged]
        for path in old:
            if not (self._shared and self._is_anothers(path, kept)):
                shutil.rmtree(path, ignore_errors=True)

    def _is_anothers(self, path: Path, kept: Path) -> bool:
        """Whether it may be of the matcher that has the partition by now; what is too old for that is swept."""
        if path.name.startswith(PART):
            return not self._files.is_left_behind(path)
        return path.name > kept.name

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        home = self._directory / str(partition)
        for folder in untried(lambda: [p for p in home.glob("*") if p.name.isdigit()]):
            try:
                with METRICS.snapshot_seconds.labels("load").time():
                    content = (folder / MANIFEST).read_bytes()
                    manifest = self._files.manifest(content, partition, fingerprint, applied)
                    return self._files.load(folder, manifest)
            except OSError as error:
                refused(partition, folder.name, SnapshotError(f"unreadable: {error}"))
            except SnapshotError as error:
                refused(partition, folder.name, error)
        return None

    def sweep(self) -> None:
        """Remove what nobody will read again, of partitions that went elsewhere too."""
        self._files.sweep(self._directory)


def untried(look: Callable[[], Collection[_Name]]) -> Iterator[_Name]:
    """The snapshots that there are, the newest first. One that took the place of another meanwhile is not missed."""
    tried: set[_Name] = set()
    while there := set(look()) - tried:
        newest = max(there)
        tried.add(newest)
        yield newest


def written(staged: Staged) -> None:
    """Say that a snapshot is in place."""
    METRICS.snapshot_offset.labels(str(staged.partition)).set(staged.offset)
    _log.info("snapshot written", partition=staged.partition, offset=staged.offset, scopes=len(staged.scopes))


def refused(partition: int, name: str, error: SnapshotError) -> None:
    """Say that a snapshot is not used."""
    METRICS.snapshot_failures.labels("refused").inc()
    _log.warning("snapshot refused", partition=partition, snapshot=name, reason=str(error))
