"""Snapshots of indexes in a local folder.

    <directory>/<profile>/<partition>/<offset>/manifest.json     format, models, offset, per scope: folder and applied
                                              /<n>/…             the index of the n-th scope

A snapshot is written beside its final name, synced, and renamed; the manifest holds a checksum of every other file
and of itself.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import structlog

from consumer.errors import SnapshotError
from consumer.metrics import METRICS
from consumer.ports import Snapshot, VectorIndex

FORMAT = 1
_MANIFEST = "manifest.json"
_log = structlog.get_logger()


class DiskSnapshots:
    """The newest snapshot of each partition, under one folder."""

    def __init__(
        self,
        directory: Path,
        load_index: Callable[[Path], VectorIndex],
        max_age_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._load_index = load_index
        self._max_age_seconds = max_age_seconds
        self._now = now

    def save(
        self, partition: int, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]
    ) -> None:
        home = self._directory / str(partition)
        final = home / f"{offset:020d}"
        part = home / f".part-{offset}"
        with METRICS.snapshot_seconds.labels("save").time():
            try:
                shutil.rmtree(part, ignore_errors=True)
                part.mkdir(parents=True)
                self._write(part, fingerprint, offset, scopes)
                shutil.rmtree(final, ignore_errors=True)
                part.rename(final)
                _sync(home)
                for old in home.iterdir():
                    if old != final:
                        shutil.rmtree(old, ignore_errors=True)
            except OSError as error:
                # a snapshot only saves time at the next start: a full disk must not stop the stream
                _log.error("snapshot not written", partition=partition, reason=str(error))
                return
        METRICS.snapshot_offset.labels(str(partition)).set(offset)
        _log.info("snapshot written", partition=partition, offset=offset, scopes=len(scopes))

    def _write(self, part: Path, fingerprint: str, offset: int, scopes: Mapping[str, tuple[VectorIndex, int]]) -> None:
        manifest: dict[str, Any] = {"format": FORMAT, "fingerprint": fingerprint, "offset": offset, "scopes": {}}
        manifest["written"] = self._now()
        for n, (scope, (index, applied)) in enumerate(scopes.items()):
            folder = part / str(n)
            folder.mkdir()
            index.save(folder)
            manifest["scopes"][scope] = {"folder": str(n), "applied": applied}
        files = sorted(path for path in part.rglob("*") if path.is_file())
        manifest["files"] = {str(path.relative_to(part)): _digest(path) for path in files}
        (part / _MANIFEST).write_bytes(orjson.dumps({"checksum": _checksum(manifest), "manifest": manifest}))
        for path in [*files, part / _MANIFEST, *(p for p in part.rglob("*") if p.is_dir()), part]:
            _sync(path)

    def load(self, partition: int, fingerprint: str, applied: Mapping[str, int]) -> Snapshot | None:
        home = self._directory / str(partition)
        if not home.is_dir():
            return None
        for folder in sorted((p for p in home.iterdir() if p.name.isdigit()), reverse=True):
            try:
                with METRICS.snapshot_seconds.labels("load").time():
                    return self._read(folder, fingerprint, applied)
            except SnapshotError as error:
                _log.warning("snapshot refused", partition=partition, snapshot=folder.name, reason=str(error))
        return None

    def _read(self, folder: Path, fingerprint: str, applied: Mapping[str, int]) -> Snapshot:
        try:
            content = orjson.loads((folder / _MANIFEST).read_bytes())
            manifest = content["manifest"]
            if content["checksum"] != _checksum(manifest):
                raise SnapshotError(f"{_MANIFEST} is damaged")
            self._check(manifest, fingerprint, applied)
            for name, digest in manifest["files"].items():
                if _digest(folder / name) != digest:
                    raise SnapshotError(f"{name} is damaged")
            scopes = manifest["scopes"].items()
            indexes = {scope: self._load_index(folder / entry["folder"]) for scope, entry in scopes}
            return Snapshot(int(manifest["offset"]), indexes)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise SnapshotError(f"unreadable: {error}") from error

    def _check(self, manifest: Mapping[str, Any], fingerprint: str, applied: Mapping[str, int]) -> None:
        if manifest["format"] != FORMAT:
            raise SnapshotError(f"format {manifest['format']}, this version reads {FORMAT}")
        if manifest["fingerprint"] != fingerprint:
            raise SnapshotError(f"of models {manifest['fingerprint']}, not {fingerprint}")
        if self._now() - manifest["written"] > self._max_age_seconds:
            raise SnapshotError("older than half the life of a tombstone, so erasures since may be gone from the topic")
        for scope, entry in manifest["scopes"].items():
            if applied.get(scope, -1) < entry["applied"]:
                raise SnapshotError("the store is older than the snapshot")


def _checksum(manifest: Mapping[str, Any]) -> str:
    return hashlib.blake2b(orjson.dumps(manifest)).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
