"""What a snapshot store refuses to give back, on a disk and in an object store: what is damaged, foreign, old or ahead."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumer.adapters.snapshot_files import MANIFEST
from tests.snapshot_places import APPLIED, HERE, MAX_AGE_SECONDS, MODELS, Clock, Place, Store, failures, scopes


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
