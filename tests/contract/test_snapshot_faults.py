"""What goes wrong while a snapshot is written: the one before it stays, and the stream goes on."""

import os
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from consumer.adapters.growing_index import GrowingIndex
from consumer.ports import Saving
from tests.snapshot_places import APPLIED, DIM, MODELS, OPTIONS, Clock, Place, Store, failures, scopes


@pytest.mark.parametrize("blocked", ["the folder", "a partition"])
def test_where_it_cannot_write_it_says_so_and_the_stream_goes_on(tmp_path: Path, clock: Clock, blocked: str) -> None:
    place = Place("disk", tmp_path, clock)
    # a file where a folder should be stops root too, which a read-only folder does not
    blocker = Path(place.root) if blocked == "the folder" else Path(place.root) / "3"
    blocker.parent.mkdir(parents=True, exist_ok=True)
    blocker.write_bytes(b"")
    before = failures("save")
    store = place.store()
    with capture_logs() as logs:
        store.save(3, MODELS, 42, scopes())
    assert [log["event"] for log in logs] == ["snapshot not written"]
    assert failures("save") == before + 1
    assert (store.unsaved(), store.unsaved()) == ([3], []), "told once"
    assert place.store().load(3, MODELS, APPLIED) is None


def _no_room() -> None:
    raise OSError(28, "No space left on device")


class _Full(GrowingIndex):
    """An index for which the disk has no room."""

    def __init__(self, when: str) -> None:
        super().__init__(DIM, 100, OPTIONS)
        self._when = when

    def save(self, directory: Path) -> Saving:
        super().save(directory)
        if self._when == "at once":
            _no_room()
        return Saving(frozen=[_no_room]) if self._when == "in the copy" else Saving(beside=[_no_room])


@pytest.mark.parametrize("when", ["at once", "in the copy", "beside the stream"])
def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(
    snapshots: Store, place: Place, tmp_path: Path, when: str
) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    with capture_logs() as logs:
        snapshots.save(3, MODELS, 50, {"de": (_Full(when), 49)})
    assert "No space left on device" in str(logs)
    assert list(snapshots.unsaved()) == [3]
    assert place.kept() == [42]
    assert not list((tmp_path / "spool").glob("*"))
    back = snapshots.load(3, MODELS, APPLIED)
    assert back is not None
    assert back.offset == 42


class _Slow(GrowingIndex):
    """An index that is being written for ever."""

    def save(self, directory: Path) -> Saving:
        (directory / "graph.bin").touch()
        return Saving(frozen=[lambda: time.sleep(3600)])


@pytest.mark.skipif(sys.platform != "linux", reason="no copies of the process are made here")
def test_nothing_writes_into_a_snapshot_that_was_dropped(
    snapshots: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[int] = []
    fork = os.fork

    def noted() -> int:
        started.append(fork())
        return started[-1]

    monkeypatch.setattr(os, "fork", noted)
    staged = snapshots.stage(3, MODELS, 50, {"de": (_Slow(DIM, 100, OPTIONS), 49)})
    assert staged is not None
    assert Path(f"/proc/{started[0]}").exists()
    snapshots.discard(staged)
    assert not Path(f"/proc/{started[0]}").exists()
    assert not list(tmp_path.rglob("graph.bin"))
