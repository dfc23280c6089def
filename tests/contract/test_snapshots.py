"""DiskSnapshots: what it keeps, what it gives back, and above all what it refuses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pytest

from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_index import HnswOptions
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.ports import VectorIndex
from tests.factories import unit_rows

DIM, MODELS, OPTIONS = 8, "f00d", HnswOptions()
MAX_AGE_SECONDS = 1000.0
APPLIED = {"de": 41, "at": 37}


def make_index(size: int, seed: int, exact_below: int = 100) -> GrowingIndex:
    index = GrowingIndex(DIM, exact_below, OPTIONS)
    index.add([f"r{i}" for i in range(size)], unit_rows(size, DIM, seed), [i % 4 for i in range(size)])
    return index


def scopes() -> dict[str, tuple[VectorIndex, int]]:
    """One exact index and one graph."""
    return {"de": (make_index(30, 1), 41), "at": (make_index(30, 2, exact_below=0), 37)}


@dataclass
class Clock:
    seconds: float = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "person"


@pytest.fixture
def snapshots(folder: Path, clock: Clock) -> DiskSnapshots:
    return DiskSnapshots(folder, lambda path: GrowingIndex.load(path, DIM, 100, OPTIONS), MAX_AGE_SECONDS, clock)


def kept(folder: Path, partition: int = 3) -> list[str]:
    return sorted(path.name for path in (folder / str(partition)).iterdir())


def test_a_snapshot_comes_back_as_it_was_saved(snapshots: DiskSnapshots) -> None:
    before = scopes()
    snapshots.save(3, MODELS, 42, before)
    back = snapshots.load(3, MODELS, APPLIED)
    assert back is not None
    assert back.offset == 42
    assert back.indexes.keys() == before.keys()
    queries = unit_rows(10, DIM, 3)
    for scope, (index, _) in before.items():
        mine, theirs = back.indexes[scope].search(queries, 5), index.search(queries, 5)
        assert [list(ids) for ids in mine[0]] == [list(ids) for ids in theirs[0]]
        assert np.array_equal(np.stack(mine[1]), np.stack(theirs[1]))


def test_a_partition_without_scopes_has_a_snapshot_too(snapshots: DiskSnapshots) -> None:
    snapshots.save(3, MODELS, 42, {})
    back = snapshots.load(3, MODELS, {})
    assert back is not None
    assert (back.offset, back.indexes) == (42, {})


def test_where_nothing_was_saved_there_is_none(snapshots: DiskSnapshots, folder: Path) -> None:
    assert snapshots.load(3, MODELS, APPLIED) is None
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(4, MODELS, APPLIED) is None
    assert not (folder / "4").exists()


def test_partitions_do_not_touch_each_other(snapshots: DiskSnapshots) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    snapshots.save(4, MODELS, 9, {"ch": (make_index(3, 4), 8)})
    third, fourth = snapshots.load(3, MODELS, APPLIED), snapshots.load(4, MODELS, {"ch": 8})
    assert third is not None
    assert fourth is not None
    assert (third.offset, fourth.offset) == (42, 9)


def test_only_the_newest_is_kept(snapshots: DiskSnapshots, folder: Path) -> None:
    for offset in (42, 7, 99, 99):
        snapshots.save(3, MODELS, offset, scopes())
        assert kept(folder) == [f"{offset:020d}"]
        back = snapshots.load(3, MODELS, APPLIED)
        assert back is not None
        assert back.offset == offset


def test_of_two_left_by_a_crash_the_newer_is_taken_and_the_other_is_the_reserve(
    snapshots: DiskSnapshots, folder: Path
) -> None:
    snapshots.save(3, MODELS, 9, scopes())
    older = folder / "3" / f"{9:020d}"
    aside = older.rename(folder / "aside")
    snapshots.save(3, MODELS, 10, scopes())
    aside.rename(older)
    newer = snapshots.load(3, MODELS, APPLIED)
    assert newer is not None
    assert newer.offset == 10
    (folder / "3" / f"{10:020d}" / "manifest.json").write_bytes(b"{")
    reserve = snapshots.load(3, MODELS, APPLIED)
    assert reserve is not None
    assert reserve.offset == 9


def test_a_half_written_one_is_ignored_and_cleared_away(snapshots: DiskSnapshots, folder: Path) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    part = folder / "3" / ".part-50"
    (part / "0").mkdir(parents=True)
    (part / "0" / "rows.json").write_bytes(b"{")
    back = snapshots.load(3, MODELS, APPLIED)
    assert back is not None
    assert back.offset == 42
    snapshots.save(3, MODELS, 50, scopes())
    assert kept(folder) == [f"{50:020d}"]


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "3").rglob("*") if path.is_file())


def test_a_flipped_byte_in_any_file_is_refused(snapshots: DiskSnapshots, folder: Path) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    files = files_of(folder)
    assert {path.name for path in files} == {"manifest.json", "rows.json", "vectors.npy", "graph.bin"}
    for path in files:
        whole = path.read_bytes()
        step = 1 if path.name == "manifest.json" else max(1, len(whole) // 20)
        for place in range(0, len(whole), step):
            for bit in (0x01, 0x40):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
                assert snapshots.load(3, MODELS, APPLIED) is None, f"{path.name} at {place}"
        path.write_bytes(whole)
    assert snapshots.load(3, MODELS, APPLIED) is not None


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "longer"])
def test_a_missing_or_cut_file_is_refused(snapshots: DiskSnapshots, folder: Path, damage: str) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    changed: Mapping[str, Callable[[bytes], bytes]] = {
        "empty": lambda _: b"",
        "cut": lambda whole: whole[:-1],
        "longer": lambda whole: whole + b"\x00",
    }
    for path in files_of(folder):
        whole = path.read_bytes()
        path.unlink()
        if damage != "gone":
            path.write_bytes(changed[damage](whole))
        assert snapshots.load(3, MODELS, APPLIED) is None, path.name
        path.write_bytes(whole)
    assert snapshots.load(3, MODELS, APPLIED) is not None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b'{"manifest": null, "checksum": ""}', b'{"manifest": {}, "checksum": 1}']
)
def test_a_manifest_of_another_shape_is_refused(snapshots: DiskSnapshots, folder: Path, content: bytes) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    (folder / "3" / f"{42:020d}" / "manifest.json").write_bytes(content)
    assert snapshots.load(3, MODELS, APPLIED) is None


def test_one_of_other_models_is_refused(snapshots: DiskSnapshots) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(3, "beef", APPLIED) is None


def test_one_of_another_format_is_refused(
    snapshots: DiskSnapshots, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    with monkeypatch.context() as later:
        later.setattr("consumer.adapters.disk_snapshots.FORMAT", 1_000)
        snapshots.save(3, MODELS, 42, scopes())
        assert snapshots.load(3, MODELS, APPLIED) is not None
    assert snapshots.load(3, MODELS, APPLIED) is None
    assert b"1000" in (folder / "3" / f"{42:020d}" / "manifest.json").read_bytes()


def test_one_older_than_tombstones_may_be_is_refused(snapshots: DiskSnapshots, clock: Clock) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    clock.seconds += MAX_AGE_SECONDS
    assert snapshots.load(3, MODELS, APPLIED) is not None
    clock.seconds += 1
    assert snapshots.load(3, MODELS, APPLIED) is None


@pytest.mark.parametrize("applied", [{}, {"de": 41}, {"de": 41, "at": 36}, {"de": -1, "at": 37}])
def test_a_store_that_went_back_in_time_is_not_given_a_newer_index(
    snapshots: DiskSnapshots, applied: Mapping[str, int]
) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(3, MODELS, applied) is None


def test_a_store_that_is_ahead_is_fine(snapshots: DiskSnapshots) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(3, MODELS, {"de": 900, "at": 38, "new": 5}) is not None


def test_no_file_of_a_snapshot_tells_what_it_does_not_have_to(snapshots: DiskSnapshots, folder: Path) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    manifest = orjson.loads((folder / "3" / f"{42:020d}" / "manifest.json").read_bytes())["manifest"]
    assert manifest["scopes"] == {"de": {"folder": "0", "applied": 41}, "at": {"folder": "1", "applied": 37}}


@pytest.mark.parametrize("blocked", ["the folder", "a partition"])
def test_where_it_cannot_write_it_says_so_and_the_stream_goes_on(
    snapshots: DiskSnapshots, folder: Path, blocked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # a file where a folder should be stops root too, which a read-only folder does not
    blocker = folder if blocked == "the folder" else folder / "3"
    blocker.parent.mkdir(parents=True)
    blocker.write_bytes(b"")
    snapshots.save(3, MODELS, 42, scopes())
    assert "snapshot not written" in "".join(capsys.readouterr())
    assert snapshots.load(3, MODELS, APPLIED) is None


def test_a_save_that_fails_leaves_the_one_before(
    snapshots: DiskSnapshots, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    (folder / "3" / ".part-50").write_bytes(b"in the way")
    snapshots.save(3, MODELS, 50, scopes())
    assert "snapshot not written" in "".join(capsys.readouterr())
    back = snapshots.load(3, MODELS, APPLIED)
    assert back is not None
    assert back.offset == 42


def test_no_snapshots_keeps_none() -> None:
    store = NoSnapshots()
    store.save(3, MODELS, 42, scopes())
    assert store.load(3, MODELS, APPLIED) is None
