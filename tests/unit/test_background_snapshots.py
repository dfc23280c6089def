"""Snapshots that are published beside the stream: one at a time, the newest wins, nothing is looked for too early."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer.adapters import background_snapshots
from consumer.adapters.background_snapshots import BackgroundSnapshots
from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.snapshot_files import Origin, SnapshotFiles, Staged
from consumer.ports import VectorIndex
from tests.factories import unit_rows

DIM, MODELS, OPTIONS = 8, "f00d", HnswOptions()


def index(n: int) -> VectorIndex:
    made = GrowingIndex(DIM, 100, OPTIONS)
    made.add([f"r{i}" for i in range(n)], unit_rows(n, DIM, 1), [1] * n)
    return made


class Slow(DiskSnapshots):
    """A disk that publishes when it is told to."""

    def __init__(self, folder: Path) -> None:
        files = SnapshotFiles(
            Origin("person", "vectors", "id"), lambda path: GrowingIndex.load(path, DIM, 100, OPTIONS), 1000.0
        )
        super().__init__(folder, files)
        self.begun = threading.Semaphore(0)
        self.may = threading.Semaphore(0)
        self.published: list[int] = []

    def publish(self, staged: Staged) -> None:
        self.begun.release()
        assert self.may.acquire(timeout=30)
        super().publish(staged)
        self.published.append(staged.offset)


@pytest.fixture
def slow(tmp_path: Path) -> Slow:
    return Slow(tmp_path)


@pytest.fixture
def snapshots(slow: Slow) -> Iterator[BackgroundSnapshots]:
    made = BackgroundSnapshots(slow)
    yield made
    for _ in range(10):
        slow.may.release()
    made.close(30)


def test_the_index_may_change_as_soon_as_save_returns(slow: Slow, snapshots: BackgroundSnapshots) -> None:
    changing = index(5)
    snapshots.save(3, MODELS, 6, {"de": (changing, 5)})
    assert slow.begun.acquire(timeout=30)
    assert slow.published == []
    changing.add(["late"], unit_rows(1, DIM, 2), [1])
    slow.may.release()
    back = snapshots.load(3, MODELS, {"de": 5})
    assert back is not None
    assert (back.offset, len(back.indexes["de"])) == (6, 5)


def test_of_those_that_wait_the_newest_of_each_partition_is_written(
    slow: Slow, snapshots: BackgroundSnapshots, tmp_path: Path
) -> None:
    snapshots.save(3, MODELS, 1, {})
    assert slow.begun.acquire(timeout=30)
    for offset in (2, 3, 4):
        snapshots.save(3, MODELS, offset, {})
    snapshots.save(4, MODELS, 9, {})
    staged = list(tmp_path.glob("*/.part-*"))
    assert len(staged) == 3, "one under way, one waiting for each partition"
    for _ in range(3):
        slow.may.release()
    for partition, offset in ((3, 4), (4, 9)):
        back = snapshots.load(partition, MODELS, {})
        assert back is not None
        assert back.offset == offset
    assert slow.published == [1, 4, 9]
    assert list(tmp_path.glob("*/.part-*")) == []


def test_a_load_waits_for_what_was_saved_before(slow: Slow, snapshots: BackgroundSnapshots) -> None:
    snapshots.save(3, MODELS, 6, {})
    found: list[int] = []

    def look() -> None:
        back = snapshots.load(3, MODELS, {})
        found.append(-1 if back is None else back.offset)

    looking = threading.Thread(target=look)
    looking.start()
    assert slow.begun.acquire(timeout=30)
    assert found == []
    slow.may.release()
    looking.join(30)
    assert found == [6]


def test_a_load_that_waits_shows_signs_of_life(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_snapshots, "_BEAT_SECONDS", 0.01)
    beats = threading.Semaphore(0)
    snapshots = BackgroundSnapshots(slow, beats.release)
    try:
        snapshots.save(3, MODELS, 6, {})
        looking = threading.Thread(target=snapshots.load, args=(3, MODELS, {}))
        looking.start()
        assert all(beats.acquire(timeout=30) for _ in range(3))
    finally:
        slow.may.release()
        looking.join(30)
        snapshots.close(30)


def test_a_publish_that_breaks_stops_neither_the_next_nor_a_load(tmp_path: Path) -> None:
    class Broken(Slow):
        def publish(self, staged: Staged) -> None:
            if staged.offset == 1:
                raise RuntimeError("a defect")
            super().publish(staged)

    broken = Broken(tmp_path)
    broken.may.release()
    snapshots = BackgroundSnapshots(broken)
    with capture_logs() as logs:
        snapshots.save(3, MODELS, 1, {})
        assert snapshots.load(3, MODELS, {}) is None
    assert "defect" in [log["event"] for log in logs]
    snapshots.save(3, MODELS, 2, {})
    back = snapshots.load(3, MODELS, {})
    assert back is not None
    assert back.offset == 2
    snapshots.close(30)


def test_closing_finishes_what_waits_and_says_what_it_could_not(slow: Slow, snapshots: BackgroundSnapshots) -> None:
    snapshots.save(3, MODELS, 6, {})
    with capture_logs() as logs:
        snapshots.close(0)
    assert "not written in time" in str(logs)
    slow.may.release()
    snapshots.close(30)
    assert slow.published == [6]
