"""An index in files: what was saved goes on as if it had not been, and is what was there when that began."""

from pathlib import Path

import hnswlib
import numpy as np
import pytest

from consumer.adapters.forked import Forked
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.row_file import RowFile, id_bytes
from tests.factories import unit_rows
from tests.indexes import DIM, OPTIONS, Model, check, fill, look, names, turn


def reloaded(index: GrowingIndex, folder: Path, exact_below: int) -> GrowingIndex:
    folder.mkdir()
    index.save(folder).finish()
    return GrowingIndex.load(folder, DIM, exact_below, OPTIONS)


@pytest.mark.parametrize("exact_below", [0, 50, 100_000])
@pytest.mark.parametrize("size", [0, 1, 49, 400])
def test_a_saved_index_goes_on_as_if_it_had_not_been(tmp_path: Path, exact_below: int, size: int) -> None:
    index, model = GrowingIndex(DIM, exact_below, OPTIONS), Model()
    for target in (index, model):
        fill(target, unit_rows(size, DIM, 25))
        target.remove(names(0, size)[::4])
        target.add(names(0, size)[:2], unit_rows(min(size, 2), DIM, 26), [7] * min(size, 2))
    queries = unit_rows(30, DIM, 27)
    twin = reloaded(index, tmp_path / "a", exact_below)
    assert len(twin) == len(index)
    for mine, theirs in zip(twin.search(queries, 9), index.search(queries, 9), strict=True):
        assert mine.ids == theirs.ids
        assert np.array_equal(mine.scores, theirs.scores)
    ids = list(model.rows)
    assert np.array_equal(twin.vectors(ids)[0], index.vectors(ids)[0])
    assert list(twin.vectors(ids)[1]) == [mask for _, mask in model.rows.values()]

    for target in (twin, model):
        fill(target, unit_rows(150, DIM, 28), first=size)
        target.remove([*names(0, size)[1::5], f"r{size + 3}"])
        target.add([f"r{size + 7}"], queries[:1], [3])
    assert len(twin) == len(model.rows)
    check(twin, model, queries, 9, 0.95)
    check(reloaded(twin, tmp_path / "b", exact_below), model, queries, 9, 0.95)


@pytest.mark.parametrize("exact_below", [0, 100])
def test_what_is_not_a_saved_index_is_refused(tmp_path: Path, exact_below: int) -> None:
    index = GrowingIndex(DIM, exact_below, OPTIONS)
    fill(index, unit_rows(30, DIM, 29))
    for name in ("rows.json", "graph.bin" if exact_below == 0 else "vectors.npy"):
        for content in (None, b"", b"PK\x03\x04", b"[]", b"{}"):
            folder = tmp_path / f"{name}-{content!r}"
            folder.mkdir()
            index.save(folder).finish()
            if content is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(content)
            with pytest.raises((OSError, ValueError, KeyError, TypeError, RuntimeError)):
                GrowingIndex.load(folder, DIM, exact_below, OPTIONS)


def test_rows_that_change_while_they_are_written_are_written_as_they_were(tmp_path: Path) -> None:
    rows = RowFile(256)
    vectors = unit_rows(20_000, 256, 30)
    rows.add(names(0, 20_000), vectors, [1] * 20_000)
    told, saving = rows.save(tmp_path)
    writing = Forked(saving.frozen)
    for n in range(0, 20_000, 2):  # while it is written, and behind that
        slot = rows.remove(f"r{n}")
        assert slot is not None
        rows.release([slot])
        rows.add([f"new{n}"], vectors[:1], [2])
    writing.wait()
    for call in saving.beside:
        call()
    again = RowFile.load(256, None, tmp_path, told)
    slots = again.newest(20_000)
    ids, masks = again.named(slots[None])
    assert (ids, masks) == ([names(0, 20_000)], [[1] * 20_000])
    assert np.array_equal(again.vectors(slots), vectors.astype(np.float16).astype(np.float32))
    assert len(rows) == 20_000


def test_a_graph_that_finds_no_room_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    index = GrowingIndex(DIM, 0, OPTIONS)
    fill(index, unit_rows(400, DIM, 31))
    monkeypatch.setattr(hnswlib.Index, "index_file_size", lambda _: 1 << 40)
    with pytest.raises(OSError, match="No space left"):
        index.save(tmp_path).finish()


def test_a_saved_graph_holds_nothing_of_what_was_removed(tmp_path: Path) -> None:
    index = GrowingIndex(8, 0, HnswOptions())
    rows = unit_rows(64, 8, seed=5)
    index.add([f"r{i}" for i in range(64)], rows, [1] * 64)
    for block in (0, 1):  # exact no more, then in the graph
        index.turn_to(block)
    index.remove(["r3", "r17", "r40"])
    index.save(tmp_path).finish()
    saved = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert rows[4].tobytes() in saved["graph.bin"]
    assert id_bytes("r4") in saved["facts.bin"], "where an erased id is looked for"
    assert rows[4].astype("<f2").tobytes() in saved["vectors.bin"]
    for gone in (3, 17, 40):
        for held in saved.values():
            assert rows[gone].tobytes() not in held
            assert rows[gone].astype("<f2").tobytes() not in held
            assert f"r{gone}\0".encode() not in held
    found, _ = look(index, rows, 5)
    assert {"r3", "r17", "r40"}.isdisjoint(record for near in found for record in near)
    index.add(["new"], rows[3:4], [1])
    assert look(index, rows[3:4], 1)[0] == [["new"]]


def test_ids_of_any_length_come_back(tmp_path: Path) -> None:
    ids = ["é" * 20, "é" * 21, "x" * 256, "y", "z\0"]
    index = GrowingIndex(DIM, 0, OPTIONS)
    index.add(ids, unit_rows(5, DIM, 33), [1] * 5)
    turn(index)
    turn(index)
    index.remove(["x" * 256])
    index.add(["x" * 255], unit_rows(1, DIM, 34), [1])
    again = reloaded(index, tmp_path / "saved", 0)
    for one in (index, again):
        assert sorted(one.search(unit_rows(1, DIM, 35), 9)[0].ids) == sorted([*ids[:2], *ids[3:], "x" * 255])
        assert all(record_id in one for record_id in (*ids[:2], "y", "z\0", "x" * 255))
