"""What a snapshot is: a folder of index files, and a manifest that says whose they are and what is in them.

    manifest.json     checksum of the rest; format, origin, models, offset, when; scopes: folder and last applied offset;
                      size and digest of every file
    <n>/…             the index of the n-th scope

Nothing of a folder is handed to an index library before every byte of it is known to be the one that was written.
"""

import hashlib
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from consumer.adapters.forked import Forked
from consumer.errors import SnapshotError
from consumer.metrics import METRICS
from consumer.ports import Snapshot, VectorIndex

FORMAT: Final = 4
MANIFEST: Final = "manifest.json"
PART: Final = ".part-"
"""What a folder that is being written is called on the local disk until it is whole."""
_FILE: Final = re.compile(r"\d+/[A-Za-z0-9_]+\.[A-Za-z0-9]+")
"""No name leads out of the folder, whoever wrote the manifest."""
_LEFT_BEHIND_SECONDS: Final = 24 * 3600.0
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose vectors a snapshot holds. A snapshot of any other origin is foreign."""

    profile: str
    topic: str
    topic_id: str
    """The broker's own id of the topic: one that is deleted and made anew has another."""


@dataclass(frozen=True, slots=True)
class Staged:
    """The index files of a snapshot, under way and not yet sealed by a manifest. Dropped, it is given up."""

    folder: Path
    partition: int
    fingerprint: str
    offset: int
    scopes: Mapping[str, tuple[str, int]]
    """Scope → its folder and the last offset applied to the store."""
    rest: list[Callable[[], None]]
    """What is still being written, or is yet to be."""

    def give_up(self) -> None:
        """Nothing is written after this, so that the folder may go."""
        self.rest.clear()


class Failures:
    """The partitions whose last snapshot is not in place, from one thread to another."""

    def __init__(self) -> None:
        self._partitions: deque[int] = deque()

    def note(self, partition: int, error: Exception) -> None:
        """Say so: the next start takes longer, and what was erased may still be in the one before."""
        METRICS.snapshot_failures.labels("save").inc()
        _log.error("snapshot not written", partition=partition, reason=str(error) or type(error).__name__)
        self._partitions.append(partition)

    def take(self) -> list[int]:
        """Those noted since the last call."""
        return [self._partitions.popleft() for _ in range(len(self._partitions))]


class SnapshotFiles:
    """Writes and reads the folders. `beat` is called between the pieces of what the stream waits for.

    `former` are folders where snapshots may have been kept before the settings named another place.
    """

    def __init__(
        self,
        origin: Origin,
        load_index: Callable[[Path], VectorIndex],
        max_age_seconds: float,
        now: Callable[[], float] = time.time,
        beat: Callable[[], None] = lambda: None,
        former: Collection[Path] = (),
    ) -> None:
        self.now = now
        self.beat = beat
        self._origin = origin
        self._load_index = load_index
        self._max_age_seconds = max_age_seconds
        self._former = former

    def write(
        self,
        folder: Path,
        partition: int,
        fingerprint: str,
        offset: int,
        scopes: Mapping[str, tuple[VectorIndex, int]],
    ) -> Staged:
        """Begin to write the indexes into an existing empty folder; they may change once this returns. Raises OSError."""
        savings = []
        for n, (index, _) in enumerate(scopes.values()):
            (folder / str(n)).mkdir()
            savings.append(index.save(folder / str(n)))
            self.beat()
        rest = [call for saving in savings for call in saving.beside]
        if frozen := [call for saving in savings for call in saving.frozen]:
            rest.insert(0, Forked(frozen).wait)
        named = {scope: (str(n), applied) for n, (scope, (_, applied)) in enumerate(scopes.items())}
        return Staged(folder, partition, fingerprint, offset, named, rest)

    def seal(self, staged: Staged) -> list[str]:
        """Write the rest, add the manifest and bring all to the disk; the names of the other files. Raises OSError."""
        folder = staged.folder
        for call in staged.rest:
            call()
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {str(path.relative_to(folder)): [path.stat().st_size, _digest(path)] for path in paths}
        manifest = {
            "format": FORMAT,
            "origin": {**asdict(self._origin), "partition": staged.partition},
            "fingerprint": staged.fingerprint,
            "offset": staged.offset,
            "written": self.now(),
            "scopes": {scope: {"folder": name, "applied": a} for scope, (name, a) in staged.scopes.items()},
            "files": files,
        }
        (folder / MANIFEST).write_bytes(orjson.dumps({"checksum": _checksum(manifest), "manifest": manifest}))
        for path in [*paths, folder / MANIFEST, *(p for p in folder.rglob("*") if p.is_dir()), folder]:
            sync(path)
        return list(files)

    def manifest(
        self, content: bytes, partition: int, fingerprint: str, applied: Mapping[str, int]
    ) -> Mapping[str, Any]:
        """The manifest in `content`, fit for use here and now. Raises SnapshotError."""
        try:
            parsed = orjson.loads(content)
            manifest: dict[str, Any] = parsed["manifest"]
            if parsed["checksum"] != _checksum(manifest):
                raise SnapshotError(f"{MANIFEST} is damaged")
            self._check(manifest, partition, fingerprint, applied)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SnapshotError(f"{MANIFEST} is unreadable: {type(error).__name__}") from error
        return manifest

    def _check(self, manifest: Mapping[str, Any], partition: int, fingerprint: str, applied: Mapping[str, int]) -> None:
        if manifest["format"] != FORMAT:
            raise SnapshotError(f"format {manifest['format']}, this version reads {FORMAT}")
        if manifest["origin"] != {**asdict(self._origin), "partition": partition}:
            raise SnapshotError("of another profile, topic or partition, or of a topic that was made anew since")
        if manifest["fingerprint"] != fingerprint:
            raise SnapshotError(f"of models {manifest['fingerprint']}, not {fingerprint}")
        if self.is_spent(manifest["written"]):
            raise SnapshotError("older than half the life of a tombstone, so erasures since may be gone from the topic")
        for scope, entry in manifest["scopes"].items():
            if applied.get(scope, -1) < entry["applied"]:
                raise SnapshotError("the store is older than the snapshot")
        if unfit := [name for name in manifest["files"] if not _FILE.fullmatch(name)]:
            raise SnapshotError(f"{len(unfit)} of its files have names that are none of ours")

    def is_spent(self, written: float) -> bool:
        """Whether a snapshot written then can never be used again."""
        return self.now() - written > self._max_age_seconds

    def is_left_behind(self, folder: Path) -> bool:
        """Whether a folder that was being written was so long ago that its process has died."""
        try:
            return self.now() - folder.stat().st_mtime > _LEFT_BEHIND_SECONDS
        except FileNotFoundError:
            return False

    def sweep(self, *folders: Path) -> None:
        """From `<folder>/<partition>/` remove snapshots too old to be used, and what a crash left of one.

        They hold people's data, and where a partition went elsewhere none takes their place.
        """
        for folder in {*folders, *self._former}:
            for part in folder.glob(f"*/{PART}*"):
                if self.is_left_behind(part):
                    shutil.rmtree(part, ignore_errors=True)
            for manifest in folder.glob(f"*/*/{MANIFEST}"):
                try:
                    spent = self.is_spent(float(orjson.loads(manifest.read_bytes())["manifest"]["written"]))
                except (OSError, ValueError, KeyError, TypeError):
                    continue
                if spent:
                    shutil.rmtree(manifest.parent, ignore_errors=True)

    def load(self, folder: Path, manifest: Mapping[str, Any]) -> Snapshot:
        """The indexes in `folder`, which must hold the files of the manifest and no others. Raises SnapshotError."""
        try:
            found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
            if unlike := sorted(found.symmetric_difference(manifest["files"])):
                raise SnapshotError(f"{unlike[0]} is missing or does not belong to it")
            for name, (size, digest) in manifest["files"].items():
                if (folder / name).stat().st_size != size or _digest(folder / name, self.beat) != digest:
                    raise SnapshotError(f"{name} is damaged")
            indexes = {}
            for scope, entry in manifest["scopes"].items():
                indexes[scope] = self._load_index(folder / entry["folder"])
                self.beat()
            return Snapshot(int(manifest["offset"]), indexes)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise SnapshotError(f"unreadable: {error}") from error


def sync(path: Path) -> None:
    """Bring a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path, beat: Callable[[], None] = lambda: None) -> str:
    # SHA-256, which processors have instructions for: three times the speed of BLAKE2 here
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            beat()
    return digest.hexdigest()


def _checksum(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(manifest)).hexdigest()
