"""Snapshot stores: what they keep, what they give back, and above all what they refuse. On a disk and in an object store."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumer.adapters.disk_snapshots import DiskSnapshots
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.no_snapshots import NoSnapshots
from consumer.adapters.object_snapshots import ObjectSnapshots
from consumer.adapters.snapshot_files import MANIFEST
from consumer.metrics import METRICS
from consumer.ports import Saving
from tests.factories import unit_rows
from tests.snapshot_places import (
    APPLIED,
    DIM,
    HERE,
    MAX_AGE_SECONDS,
    MODELS,
    OPTIONS,
    Clock,
    Place,
    make_index,
    scopes,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["disk", "object"])
def place(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Place:
    return Place(request.param, tmp_path, clock)


@pytest.fixture
def snapshots(place: Place) -> DiskSnapshots | ObjectSnapshots:
    return place.store()


Store = DiskSnapshots | ObjectSnapshots


def failures(action: str) -> float:
    return METRICS.registry.get_sample_value("dedup_snapshot_failures_total", {"action": action}) or 0.0


def test_a_snapshot_comes_back_as_it_was_saved(snapshots: Store) -> None:
    before = scopes()
    snapshots.save(3, MODELS, 42, before)
    back = snapshots.load(3, MODELS, APPLIED)
    assert back is not None
    assert back.offset == 42
    assert back.indexes.keys() == before.keys()
    queries = unit_rows(10, DIM, 3)
    for scope, (index, _) in before.items():
        for mine, theirs in zip(back.indexes[scope].search(queries, 5), index.search(queries, 5), strict=True):
            assert mine.ids == theirs.ids
            assert np.array_equal(mine.scores, theirs.scores)


def test_a_load_that_takes_long_shows_signs_of_life(place: Place) -> None:
    place.store().save(3, MODELS, 42, scopes())
    beats: list[None] = []
    assert place.store(beat=lambda: beats.append(None)).load(3, MODELS, APPLIED) is not None
    files = len(place.files()) - 1
    assert len(beats) >= files * (1 if place.kind == "disk" else 2) + len(APPLIED), "each file read, each scope loaded"


def test_a_partition_without_scopes_has_a_snapshot_too(snapshots: Store) -> None:
    snapshots.save(3, MODELS, 42, {})
    back = snapshots.load(3, MODELS, {})
    assert back is not None
    assert (back.offset, back.indexes) == (42, {})


def test_where_nothing_was_saved_there_is_none(snapshots: Store, place: Place) -> None:
    assert snapshots.load(3, MODELS, APPLIED) is None
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(4, MODELS, APPLIED) is None
    assert place.files(4) == []


def test_partitions_do_not_touch_each_other(snapshots: Store) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    snapshots.save(4, MODELS, 9, {"ch": (make_index(3, 4), 8)})
    third, fourth = snapshots.load(3, MODELS, APPLIED), snapshots.load(4, MODELS, {"ch": 8})
    assert third is not None
    assert fourth is not None
    assert (third.offset, fourth.offset) == (42, 9)


def test_only_the_newest_is_kept(snapshots: Store, place: Place) -> None:
    for offset in (7, 42, 99, 99):
        snapshots.save(3, MODELS, offset, scopes())
        assert place.kept() == [offset]
        back = snapshots.load(3, MODELS, APPLIED)
        assert back is not None
        assert back.offset == offset


def test_nothing_is_left_on_the_local_disk_of_what_is_kept_elsewhere(tmp_path: Path, clock: Clock) -> None:
    snapshots = Place("object", tmp_path, clock).store()
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(3, MODELS, APPLIED) is not None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_matcher_that_was_replaced_does_not_remove_what_its_successor_wrote(tmp_path: Path, clock: Clock) -> None:
    place = Place("object", tmp_path, clock)
    place.store().save(3, MODELS, 50, scopes())
    place.store().save(3, MODELS, 42, scopes())  # it wakes up, and does not know yet
    back = place.store().load(3, MODELS, APPLIED)
    assert back is not None
    assert back.offset == 50
    clock.seconds += MAX_AGE_SECONDS + 1
    place.store().save(3, MODELS, 43, scopes())
    assert place.kept() == [43], "what can never be used again goes"


def test_of_two_left_by_a_crash_the_newer_is_taken_and_the_other_is_the_reserve(snapshots: Store, place: Place) -> None:
    snapshots.save(3, MODELS, 9, scopes())
    older = {path: place.fs.cat_file(path) for path in place.files()}
    snapshots.save(3, MODELS, 10, scopes())
    (manifest,) = place.manifests()
    for path, content in older.items():
        place.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        place.fs.pipe_file(path, content)
    newer = snapshots.load(3, MODELS, APPLIED)
    assert newer is not None
    assert newer.offset == 10
    place.fs.pipe_file(manifest, b"{")
    reserve = snapshots.load(3, MODELS, APPLIED)
    assert reserve is not None
    assert reserve.offset == 9


def test_one_without_its_manifest_does_not_exist_and_is_cleared_away(snapshots: Store, place: Place) -> None:
    snapshots.save(3, MODELS, 50, scopes())
    (manifest,) = place.manifests()
    place.fs.rm(manifest)
    assert snapshots.load(3, MODELS, APPLIED) is None
    snapshots.save(3, MODELS, 51, scopes())
    assert place.kept() == [51]


def test_what_a_crash_left_of_one_that_was_being_written_is_cleared_away(tmp_path: Path, clock: Clock) -> None:
    place = Place("disk", tmp_path, clock)
    part = Path(place.root) / "3" / ".part-abc" / "0"
    part.mkdir(parents=True)
    (part / "rows.json").write_bytes(b"{")
    assert place.store().load(3, MODELS, APPLIED) is None
    place.store().save(3, MODELS, 50, scopes())
    assert place.kept() == [50]


def test_and_of_another_partition_once_its_process_must_have_died(tmp_path: Path, clock: Clock) -> None:
    place = Place("disk", tmp_path, clock)
    store = place.store()
    old, young = (Path(place.root) / "4" / f".part-{name}" for name in ("old", "young"))
    for part, hours in ((old, 25), (young, 23)):
        part.mkdir(parents=True)
        os.utime(part, times=(clock.seconds - hours * 3600,) * 2)
    store.save(3, MODELS, 50, scopes())
    assert (old.exists(), young.exists()) == (False, True)


# --- what is refused ---------------------------------------------------------------------------------------------------


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_refused(snapshots: Store, place: Place, data: st.DataObject) -> None:
    if not place.files():
        snapshots.save(3, MODELS, 42, scopes())
    path = data.draw(st.sampled_from(place.files()))
    whole: bytes = place.fs.cat_file(path)
    flip = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    place.fs.pipe_file(path, whole[: flip[0]] + bytes([whole[flip[0]] ^ 1 << flip[1]]) + whole[flip[0] + 1 :])
    try:
        assert snapshots.load(3, MODELS, APPLIED) is None
    finally:
        place.fs.pipe_file(path, whole)


def test_each_bit_of_the_manifest_counts(tmp_path: Path, clock: Clock) -> None:
    place = Place("disk", tmp_path, clock)
    snapshots = place.store()
    snapshots.save(3, MODELS, 42, scopes())
    assert {path.rsplit("/", 1)[1] for path in place.files()} == {
        *(MANIFEST, "rows.json", "vectors.npy"),
        *("graph.bin", "vectors.bin", "facts.bin"),
    }
    manifest = Path(place.manifests()[0])
    whole = manifest.read_bytes()
    for at in range(len(whole)):
        manifest.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        assert snapshots.load(3, MODELS, APPLIED) is None, at
    manifest.write_bytes(whole)
    assert snapshots.load(3, MODELS, APPLIED) is not None


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "longer"])
def test_a_missing_or_cut_file_is_refused(snapshots: Store, place: Place, damage: str) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    changed: Mapping[str, Callable[[bytes], bytes]] = {
        "empty": lambda _: b"",
        "cut": lambda whole: whole[:-1],
        "longer": lambda whole: whole + b"\x00",
    }
    for path in place.files():
        whole = place.fs.cat_file(path)
        place.fs.rm(path)
        if damage != "gone":
            place.fs.pipe_file(path, changed[damage](whole))
        assert snapshots.load(3, MODELS, APPLIED) is None, path
        place.fs.pipe_file(path, whole)
    assert snapshots.load(3, MODELS, APPLIED) is not None


def test_a_file_that_does_not_belong_to_it_is_refused(tmp_path: Path, clock: Clock) -> None:
    """An index of another kind would be taken for what it is not."""
    place = Place("disk", tmp_path, clock)
    snapshots = place.store()
    snapshots.save(3, MODELS, 42, scopes())
    graph = next(path for path in place.files() if path.endswith("graph.bin"))
    stray = Path(graph).parent.parent / "0" / "graph.bin"
    stray.write_bytes(Path(graph).read_bytes())
    assert snapshots.load(3, MODELS, APPLIED) is None


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{}", b'{"manifest": null, "checksum": ""}', b'{"manifest": {}, "checksum": 1}']
)
def test_a_manifest_of_another_shape_is_refused(snapshots: Store, place: Place, content: bytes) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    place.fs.pipe_file(place.manifests()[0], content)
    assert snapshots.load(3, MODELS, APPLIED) is None


def forged(place: Place, **changes: Any) -> None:
    """Change the manifest, with a checksum that is right."""
    path = place.manifests()[0]
    manifest = {**orjson.loads(place.fs.cat_file(path))["manifest"], **changes}
    checksum = hashlib.sha256(orjson.dumps(manifest)).hexdigest()
    place.fs.pipe_file(path, orjson.dumps({"checksum": checksum, "manifest": manifest}))


@pytest.mark.parametrize("name", ["../../../victim.txt", "/tmp/victim.txt", "0/../../victim.txt", "0/a/b.bin", ""])
def test_no_name_in_a_manifest_leads_out_of_its_folder(snapshots: Store, place: Place, name: str) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    files = orjson.loads(place.fs.cat_file(place.manifests()[0]))["manifest"]["files"]
    forged(place)
    assert snapshots.load(3, MODELS, APPLIED) is not None, "the forgery itself is good"
    forged(place, files={**files, name: next(iter(files.values()))})
    assert snapshots.load(3, MODELS, APPLIED) is None


def test_one_of_other_models_is_refused(snapshots: Store) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(3, "beef", APPLIED) is None


@pytest.mark.parametrize("change", [{"profile": "offer"}, {"topic": "vectors.2"}, {"topic_id": "made-again"}])
def test_a_foreign_one_is_refused(place: Place, change: Mapping[str, str]) -> None:
    place.store(replace(HERE, **change)).save(3, MODELS, 42, scopes())
    before = failures("refused")
    assert place.store().load(3, MODELS, APPLIED) is None
    assert failures("refused") == before + 1
    assert place.store(replace(HERE, **change)).load(3, MODELS, APPLIED) is not None


def test_one_of_another_partition_is_refused(snapshots: Store, place: Place) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    for path in place.files():
        theirs = path.replace(f"{place.root}/3/", f"{place.root}/4/")
        place.fs.makedirs(theirs.rsplit("/", 1)[0], exist_ok=True)
        place.fs.pipe_file(theirs, place.fs.cat_file(path))
    assert snapshots.load(4, MODELS, APPLIED) is None


@pytest.mark.parametrize("number", [1, 1_000])
def test_one_of_another_format_is_refused(snapshots: Store, place: Place, number: int) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    forged(place, format=number)
    assert snapshots.load(3, MODELS, APPLIED) is None


def test_one_older_than_tombstones_may_be_is_refused(snapshots: Store, clock: Clock) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    clock.seconds += MAX_AGE_SECONDS
    assert snapshots.load(3, MODELS, APPLIED) is not None
    clock.seconds += 1
    assert snapshots.load(3, MODELS, APPLIED) is None


def test_what_is_too_old_to_be_used_is_removed_wherever_its_partition_is_now(tmp_path: Path, clock: Clock) -> None:
    place = Place("disk", tmp_path, clock)
    place.store().save(3, MODELS, 42, scopes())
    clock.seconds += MAX_AGE_SECONDS + 1
    place.store().save(4, MODELS, 42, scopes())
    assert place.kept(4) == [42]
    assert place.files(3) == []


@pytest.mark.parametrize("applied", [{}, {"de": 41}, {"de": 41, "at": 36}, {"de": -1, "at": 37}])
def test_a_store_that_went_back_in_time_is_not_given_a_newer_index(
    snapshots: Store, applied: Mapping[str, int]
) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(3, MODELS, applied) is None


def test_a_store_that_is_ahead_is_fine(snapshots: Store) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    assert snapshots.load(3, MODELS, {"de": 900, "at": 38, "new": 5}) is not None


def test_no_file_of_a_snapshot_tells_what_it_does_not_have_to(snapshots: Store, place: Place) -> None:
    snapshots.save(3, MODELS, 42, scopes())
    manifest = orjson.loads(place.fs.cat_file(place.manifests()[0]))["manifest"]
    assert manifest["scopes"] == {"de": {"folder": "0", "applied": 41}, "at": {"folder": "1", "applied": 37}}


# --- what goes wrong while writing -------------------------------------------------------------------------------------


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


def test_no_snapshots_keeps_none() -> None:
    store = NoSnapshots()
    store.save(3, MODELS, 42, scopes())
    assert store.load(3, MODELS, APPLIED) is None
