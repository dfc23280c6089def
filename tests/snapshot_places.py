"""Where snapshots are kept, for tests: on a disk and in an object store, looked at as a person would."""

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import fsspec

from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.object_snapshots import ObjectSnapshots
from consumer.adapters.snapshot_files import MANIFEST, Origin, SnapshotFiles
from consumer.metrics import METRICS
from consumer.ports import VectorIndex
from tests.factories import unit_rows

DIM, MODELS, OPTIONS = 8, "f00d", HnswOptions()
MAX_AGE_SECONDS = 1000.0
APPLIED = {"de": 41, "at": 37}
HERE = Origin("person", "vectors.person", "made-once")
Store = DiskSnapshots | ObjectSnapshots


def make_index(size: int, seed: int, exact_below: int = 100) -> GrowingIndex:
    index = GrowingIndex(DIM, exact_below, OPTIONS)
    index.add([f"r{i}" for i in range(size)], unit_rows(size, DIM, seed), [i % 4 for i in range(size)])
    index.turn_to(0)
    return index


def scopes() -> dict[str, tuple[VectorIndex, int]]:
    """One exact index and one graph."""
    return {"de": (make_index(30, 1), 41), "at": (make_index(30, 2, exact_below=0), 37)}


@dataclass
class Clock:
    seconds: float = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


class Place:
    """Where a store keeps its snapshots, as a person would look at it; makes stores over it."""

    def __init__(self, kind: str, folder: Path, clock: Clock, former: Collection[Path] = ()) -> None:
        self.kind = kind
        self.clock = clock
        self._folder = folder
        self._former = former
        if kind != "object":
            self.fs, self.root = fsspec.filesystem("file"), str(folder / "state")
        else:
            self.fs, self.root = fsspec.filesystem("memory"), f"/{secrets.token_hex(8)}"

    def store(self, origin: Origin = HERE, beat: Callable[[], None] = lambda: None) -> Store:
        files = SnapshotFiles(
            origin,
            lambda path: GrowingIndex.load(path, DIM, 100, OPTIONS),
            MAX_AGE_SECONDS,
            self.clock,
            beat,
            self._former,
        )
        if self.kind != "object":
            return DiskSnapshots(Path(self.root), files, shared=self.kind == "shared disk")
        return ObjectSnapshots(f"memory:/{self.root}", self._folder / "spool", files, patience_seconds=0)

    def files(self, partition: int = 3) -> list[str]:
        home = f"{self.root}/{partition}"
        return sorted(self.fs.find(home)) if self.fs.exists(home) else []

    def kept(self, partition: int = 3) -> list[int]:
        """Offsets of the snapshots there, from their names; -1 for anything else."""
        home = f"{self.root}/{partition}/"
        names = {path.split(home, 1)[1].split("/")[0] for path in self.files(partition)}
        return sorted(int(name.split("-")[0]) if name[0].isdigit() else -1 for name in names)

    def manifests(self, partition: int = 3) -> list[str]:
        return [path for path in self.files(partition) if path.endswith(MANIFEST)]


def failures(action: str) -> float:
    return METRICS.registry.get_sample_value("dedup_snapshot_failures_total", {"action": action}) or 0.0
