"""An index of many vectors, beyond what every index promises: a graph of shortened vectors over rows in a file."""

import errno
import os
import tempfile
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from consumer.adapters import hnsw_graph
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.row_file import RowFile, as_floats
from consumer.errors import SettingsError
from consumer.records import Floats
from tests.factories import unit_rows
from tests.indexes import DIM, OPTIONS, Model, fill, look, names

LONG, FEW = 96, HnswOptions(dims=24, m=8, ef_construction=60, ef=80)
"""Vectors that a graph is given shortened."""


def clustered(count: int, seed: int) -> Floats:
    """Unit rows, every fourth one near the one before it, as people are who signed up again."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, 12)) @ np.random.default_rng(0).standard_normal((12, LONG))
    rows += random.standard_normal((count, LONG))
    rows[3::4] = rows[2::4][: len(rows[3::4])] + 0.3 * random.standard_normal((len(rows[3::4]), LONG))
    units: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
    return units


def stream(index: GrowingIndex, rows: Floats, batch: int, *, tells: bool) -> list[tuple[int, list[str], list[float]]]:
    """What each row finds before it is added, in blocks of 64 rows, whatever the batches; some are removed on the way.

    Whether it `tells` the index which search is the last of a block is its choice.
    """
    told: list[tuple[int, list[str], list[float]]] = []
    for start in range(0, len(rows), 64):
        index.turn_to(start)
        for first in range(start, min(start + 64, len(rows)), batch):
            part = rows[first : min(first + batch, start + 64)]
            if tells and first + batch >= start + 64:
                index.last_search()
            for n, hits in enumerate(index.search(part[:1] if batch > 1 else part, 10)):
                told.append((first + n, list(hits.ids), hits.scores.tolist()))
            index.add(names(first, first + len(part)), part, [1] * len(part))
        index.remove([*names(start // 2, start // 2 + 3), *names(start - 9, start - 7)])
    return told


def test_a_graph_of_shortened_vectors_finds_the_nearest_and_scores_them_by_the_whole() -> None:
    rows = clustered(4000, 30)
    index, model = GrowingIndex(LONG, 300, FEW), Model()
    fill(index, rows, batch=500)
    fill(model, rows)
    queries = clustered(4000, 30)[3::40]
    found, scores = look(index, queries, 2)
    wanted, _ = model.search(queries, 2)
    assert sum(set(a) == set(b) for a, b in zip(found, wanted, strict=True)) >= 0.97 * len(queries)
    for query, ids, row in zip(queries, found, scores, strict=True):
        assert list(row) == pytest.approx([float(query @ model.rows[r][0]) for r in ids], abs=2e-5)


def test_what_a_large_index_finds_does_not_depend_on_batches() -> None:
    rows = clustered(1600, 31)
    one_by_one = stream(GrowingIndex(LONG, 300, FEW), rows, 1, tells=False)
    for batch, tells in product((1, 7, 32, 64), (False, True)):
        told = stream(GrowingIndex(LONG, 300, FEW), rows, batch, tells=tells)
        firsts = {number for number, _, _ in told}
        assert told == [one for one in one_by_one if one[0] in firsts]


def test_threads_of_a_search_change_nothing_that_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw_graph, "LARGE", 1500)
    one, four = (replace(FEW, threads=threads) for threads in (1, 4))
    assert [four.search_threads(elements) for elements in (1499, 1500)] == [1, 4]
    rows = clustered(2000, 36)
    indexes = [GrowingIndex(LONG, 300, options) for options in (one, four)]
    for index in indexes:
        fill(index, rows, batch=100)
    told = [look(index, rows[::8], 10) for index in indexes]
    assert told[0][0] == told[1][0]
    assert np.array_equal(told[0][1], told[1][1])


def test_a_spare_hit_is_out_of_the_same_candidates() -> None:
    rows = clustered(2000, 32)
    index = GrowingIndex(LONG, 300, FEW)
    fill(index, rows, batch=100)
    for plain, more in zip(index.search(rows[:50], 5), index.search(rows[:50], 5, spare=60), strict=True):
        assert list(more.ids[:5]) == list(plain.ids)
        assert len(more.ids) == 65


def test_a_turn_that_failed_is_told_to_the_next_search(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    index = GrowingIndex(8, 0, HnswOptions())
    rows = unit_rows(64, 8, seed=6)
    for block in (0, 1):
        index.add(names(32 * block, 32 * block + 32), rows[32 * block :][:32], [1] * 32)
        index.turn_to(block)
        assert look(index, rows, 1)[0][0] == ["r0"]
    index.add(["new"], rows[:1], [1])
    monkeypatch.setattr(hnsw_graph, "_change", out_of_memory)
    index.turn_to(2)
    with pytest.raises(MemoryError):
        index.search(rows, 1)


def test_a_place_with_nothing_in_it_has_no_name() -> None:
    """A search that reaches fewer than it was asked for says -1, which is the last place of the file as well."""
    rows = RowFile(2)
    full = 1024
    ids = [f"{number:04d}" + "x" * 60 for number in range(full)]
    rows.add(ids, np.zeros((full, 2), np.float32), [1] * full)
    names, _ = rows.named(np.asarray([[0, -1]]))
    assert names[0] == ["0000" + "x" * 60, ""]


def test_halves_become_floats_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    assert np.array_equal(as_floats(halves).view(np.uint32), halves.astype(np.float32).view(np.uint32))


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EMFILE, r"no file for an index \(Too many open files\)\. .* raise what `ulimit -Hn` tells"),
        (errno.EACCES, r"no file for an index \(Permission denied\)\. See that state.directory"),
    ],
)
def test_a_file_that_cannot_be_had_is_said_so(monkeypatch: pytest.MonkeyPatch, number: int, told: str) -> None:
    def refused(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    with pytest.raises(SettingsError, match=told):
        RowFile(DIM)


def test_a_disk_without_room_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    index = GrowingIndex(DIM, 0, OPTIONS)
    index.add(["r0"], unit_rows(1, DIM, 36), [1])
    with pytest.raises(SettingsError, match=r"no room for .* bytes of an index \(No space left on device\)"):
        index.turn_to(0)
