"""Snapshot stores, on a disk and in an object store: what they keep, what they give back, and what they clear away."""

import os
from pathlib import Path

import numpy as np

from consumer.adapters.no_snapshots import NoSnapshots
from tests.factories import unit_rows
from tests.snapshot_places import APPLIED, DIM, MAX_AGE_SECONDS, MODELS, Clock, Place, Store, make_index, scopes


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


def test_no_snapshots_keeps_none() -> None:
    store = NoSnapshots()
    store.save(3, MODELS, 42, scopes())
    assert store.load(3, MODELS, APPLIED) is None
