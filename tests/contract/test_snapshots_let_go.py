"""What a snapshot store lets go: of one that could not be written, and of what nobody will read again."""

import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer.adapters import background_snapshots
from consumer.adapters.background_snapshots import BackgroundSnapshots
from consumer.adapters.growing_index import GrowingIndex
from consumer.ports import Saving
from tests.snapshot_places import DIM, MAX_AGE_SECONDS, MODELS, OPTIONS, Clock, Place, scopes


class _Rows:
    """Rows as they were, kept until they are written."""

    def put_back(self) -> None: ...


class _Full(GrowingIndex):
    """An index for whose graph the disk has no room."""

    def __init__(self) -> None:
        super().__init__(DIM, 100, OPTIONS)
        self.kept: weakref.ref[_Rows] | None = None

    def save(self, directory: Path) -> Saving:
        del directory
        rows = _Rows()
        self.kept = weakref.ref(rows)
        return Saving(frozen=[self._no_room], beside=[rows.put_back])

    def _no_room(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("kind", ["disk", "object"])
def test_of_one_that_failed_no_rows_are_kept(tmp_path: Path, kind: str) -> None:
    snapshots, index = Place(kind, tmp_path, Clock()).store(), _Full()
    staged = snapshots.stage(3, MODELS, 50, {"de": (index, 49)})
    assert staged is not None
    assert index.kept is not None
    assert index.kept() is not None
    with capture_logs():
        snapshots.publish(staged)
    # the thread that publishes holds it until there is another one, hours perhaps; each change would be noted for it
    assert index.kept() is None


def written_by(place: Place, partition: int) -> None:
    place.store().save(partition, MODELS, 42, scopes())


def until(gone: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not gone():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_too_old_goes_from_a_host_that_writes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("disk", tmp_path, Clock())
    written_by(place, 3)
    monkeypatch.setattr(background_snapshots, "_SWEEP_SECONDS", 0.01)
    snapshots = BackgroundSnapshots(place.store())  # another process has the partition
    try:
        time.sleep(0.1)
        assert place.kept() == [42], "it may come back"
        place.clock.seconds += MAX_AGE_SECONDS + 1
        until(lambda: place.files() == [])
    finally:
        snapshots.close(30)


def test_what_a_crash_left_on_its_way_to_a_store_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("object", tmp_path, Clock())
    left = tmp_path / "spool" / "tmpabc" / "0"
    left.mkdir(parents=True)
    (left / "vectors.bin").write_bytes(b"somebody")
    os.utime(left.parent, times=(place.clock.seconds,) * 2)
    snapshots = place.store()  # at once after the crash: it may be another's
    assert left.exists()
    place.clock.seconds += 25 * 3600
    snapshots.save(3, MODELS, 50, scopes())
    assert not left.parent.exists()


@pytest.mark.parametrize("kind", ["disk", "object"])
def test_what_was_kept_elsewhere_before_goes_once_it_is_too_old(tmp_path: Path, kind: str) -> None:
    clock = Clock()
    before = Place("disk", tmp_path / "before", clock)
    written_by(before, 3)
    now = Place(kind, tmp_path / "now", clock, former=[Path(before.root)])
    written_by(now, 4)
    assert before.kept() == [42]
    clock.seconds += MAX_AGE_SECONDS + 1
    written_by(now, 4)
    assert before.files() == []
