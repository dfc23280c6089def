"""What every VectorIndex promises, over each of them; a plain Python model is the oracle."""

import errno
import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import hnswlib
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.adapters import hnsw_graph
from consumer.adapters.exact_index import ExactIndex
from consumer.adapters.forked import Forked
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_graph import HnswOptions
from consumer.adapters.hnsw_index import HnswIndex
from consumer.adapters.projection import Projection
from consumer.adapters.row_file import RowFile, as_floats, id_bytes
from consumer.errors import SettingsError
from consumer.layout import DECIMALS
from consumer.ports import Cosines, Hits, Saving, whole
from consumer.records import Floats
from tests.factories import unit_rows

DIM = 16
OPTIONS = HnswOptions()


class Searchable(Protocol):
    """VectorIndex without `save`, which only GrowingIndex has: the other two are its parts."""

    def __len__(self) -> int: ...
    def __contains__(self, record_id: str) -> bool: ...
    def search(self, queries: Floats, k: int, cosines: Cosines = whole, spare: int = 0) -> Sequence[Hits]: ...
    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None: ...
    def remove(self, ids: Sequence[str]) -> None: ...
    def vectors(self, ids: Sequence[str]) -> tuple[Floats, Sequence[int]]: ...
    def newest(self, count: int) -> Floats: ...


Maker = Callable[[], Searchable]
MAKERS: dict[str, Maker] = {
    "exact": lambda: ExactIndex(DIM),
    "hnsw": lambda: HnswIndex(DIM, OPTIONS, Projection(None)),
    "growing, still exact": lambda: GrowingIndex(DIM, 100_000, OPTIONS),
    "growing, promoted on the way": lambda: GrowingIndex(DIM, 50, OPTIONS),
    "growing, never exact": lambda: GrowingIndex(DIM, 0, OPTIONS),
}
EXACT = {"exact", "growing, still exact"}
_BLOCKS = count()


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(kind: str) -> Searchable:
    return MAKERS[kind]()


class Model:
    """The same promises in the plainest way: a dict, oldest first."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Floats, int]] = {}

    def add(self, ids: Sequence[str], vectors: Floats, masks: Sequence[int]) -> None:
        self.remove(ids)
        self.rows.update({r: (v, m) for r, v, m in zip(ids, vectors, masks, strict=True)})

    def remove(self, ids: Sequence[str]) -> None:
        for record_id in ids:
            self.rows.pop(record_id, None)

    def search(self, queries: Floats, k: int) -> tuple[list[list[str]], list[list[float]]]:
        found, scores = [], []
        for query in queries:
            scored = [(round(float(query @ v), DECIMALS), r) for r, (v, _) in self.rows.items()]
            best = sorted(scored, key=lambda pair: -pair[0])[:k]
            found.append([r for _, r in best])
            scores.append([s for s, _ in best])
        return found, scores


def names(start: int, end: int) -> list[str]:
    return [f"r{i}" for i in range(start, end)]


def fill(target: Searchable | Model, rows: Floats, first: int = 0, batch: int = 37) -> None:
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        ids = names(first + start, first + start + len(part))
        target.add(ids, part, [int(r[1:]) % 32 for r in ids])
        turn(target)


def turn(target: Searchable | Model) -> None:
    """On to the next block."""
    if isinstance(target, GrowingIndex):
        target.turn_to(next(_BLOCKS))
    elif isinstance(target, HnswIndex):
        target.settle()


def look(index: Searchable, queries: Floats, k: int) -> tuple[list[list[str]], list[Floats]]:
    """Ids and scores of a search."""
    hits = index.search(queries, k)
    return [list(one.ids) for one in hits], [one.scores for one in hits]


def check(index: Searchable, model: Model, queries: Floats, k: int, least_recall: float) -> None:
    """Both find the same; an approximate index nearly the same, with true scores in order."""
    found, scores = look(index, queries, k)
    wanted, wanted_scores = model.search(queries, k)
    assert len(found) == len(scores) == len(queries)
    if least_recall == 1:
        # sums in another order may round to another last digit, and so swap neighbours that are all but equal
        for mine, theirs in zip(scores, wanted_scores, strict=True):
            assert mine == pytest.approx(theirs, abs=2.1 * 10**-DECIMALS)
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, wanted, strict=True))
    assert hits >= least_recall * sum(map(len, wanted)) - (2 if least_recall == 1 else 0)
    for query, ids, row in zip(queries, found, scores, strict=True):
        assert len(set(ids)) == len(ids) == len(row)
        assert list(row) == sorted(row, reverse=True)
        true = [float(query @ model.rows[r][0]) for r in ids]
        assert list(row) == pytest.approx(true, abs=2.1 * 10**-DECIMALS)


def test_an_empty_index_finds_nothing(index: Searchable) -> None:
    found, scores = look(index, unit_rows(3, DIM, 1), 5)
    assert [list(ids) for ids in found] == [[], [], []]
    assert [len(row) for row in scores] == [0, 0, 0]
    assert len(index) == 0
    assert "r0" not in index
    vectors, masks = index.vectors([])
    assert vectors.shape == (0, DIM)
    assert list(masks) == []
    index.remove(["r0"])


def test_no_queries_and_no_neighbours(index: Searchable) -> None:
    fill(index, unit_rows(60, DIM, 1))
    assert [list(part) for part in look(index, np.zeros((0, DIM), np.float32), 5)] == [[], []]
    found, _ = look(index, unit_rows(2, DIM, 2), 0)
    assert [list(ids) for ids in found] == [[], []]


def test_it_finds_what_comparing_with_every_one_finds(index: Searchable, kind: str) -> None:
    model, rows = Model(), unit_rows(3000, DIM, 3)
    fill(index, rows)
    fill(model, rows)
    check(index, model, unit_rows(100, DIM, 4), 10, 1 if kind in EXACT else 0.95)


def test_on_numbers_without_rounding_exact_search_equals_the_oracle() -> None:
    # quarters: every product is exact in float32, so ids and order must agree to the last tie
    random = np.random.default_rng(5)
    rows = (random.integers(-4, 5, (500, DIM)) / 4).astype(np.float32)
    model = Model()
    for index in (ExactIndex(DIM), GrowingIndex(DIM, 1000, OPTIONS)):
        fill(index, rows)
        fill(model, rows)
        queries = (random.integers(-4, 5, (50, DIM)) / 4).astype(np.float32)
        found, scores = look(index, queries, 20)
        wanted, wanted_scores = model.search(queries, 20)
        assert [list(ids) for ids in found] == wanted
        assert [row.tolist() for row in scores] == wanted_scores


def test_a_row_finds_itself(index: Searchable) -> None:
    rows = unit_rows(400, DIM, 6)
    fill(index, rows)
    found, scores = look(index, rows, 1)
    itself = [list(ids) == [name] for ids, name in zip(found, names(0, 400), strict=True)]
    assert sum(itself) >= 398
    assert np.mean([row[0] for row in scores]) == pytest.approx(1, abs=1e-3)


def test_results_do_not_depend_on_the_batch(index: Searchable) -> None:
    rows, queries = unit_rows(600, DIM, 7), unit_rows(40, DIM, 8)
    fill(index, rows)
    together = look(index, queries, 7)
    for i, query in enumerate(queries):
        ids, scores = look(index, query[None], 7)
        assert list(ids[0]) == list(together[0][i])
        assert np.array_equal(scores[0], together[1][i])


def test_ties_go_to_the_older(index: Searchable) -> None:
    fill(index, unit_rows(60, DIM, 9))
    same = unit_rows(1, DIM, 10)
    index.add(["c", "a", "b"], np.repeat(same, 3, axis=0), [1, 1, 1])
    assert list(look(index, same, 3)[0][0]) == ["c", "a", "b"]
    index.add(["c"], same, [1])
    assert list(look(index, same, 3)[0][0]) == ["a", "b", "c"], "a replaced one is new"
    index.remove(["a"])
    index.add(["a"], same, [1])
    assert list(look(index, same, 3)[0][0]) == ["b", "c", "a"]


def test_an_id_that_is_there_is_replaced(index: Searchable) -> None:
    fill(index, unit_rows(80, DIM, 11))
    old, _ = index.vectors(["r5"])
    new = unit_rows(1, DIM, 12)
    index.add(["r5"], new, [9])
    assert len(index) == 80
    kept, masks = index.vectors(["r5"])
    assert np.array_equal(kept, new)
    assert list(masks) == [9]
    found, scores = look(index, old, 80)
    assert sorted(found[0]) == sorted(set(found[0]))
    assert float(scores[0][0]) < 1, "the old numbers are not found"


def test_what_was_removed_is_not_found(index: Searchable) -> None:
    model, rows = Model(), unit_rows(300, DIM, 13)
    fill(index, rows)
    fill(model, rows)
    gone = names(0, 300)[::3]
    for target in (index, model):
        target.remove([*gone, "never there"])
    assert len(index) == 200
    assert not any(r in index for r in gone)
    found, _ = look(index, rows, 10)
    assert not set(gone) & {r for ids in found for r in ids}
    check(index, model, rows[::3], 10, 0.95)
    for ids in (["r0"], ["r1", "r0"]):
        with pytest.raises(KeyError):
            index.vectors(ids)


@pytest.mark.parametrize("tells", [False, True])
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("before", range(4))
def test_what_comes_takes_no_place_that_is_not_free_yet(before: int, after: int, *, tells: bool) -> None:
    """Whether what went was in the graph, on its way there or new, and whether it has left it."""
    index, model = GrowingIndex(DIM, 0, OPTIONS), Model()
    rows = unit_rows(12, DIM, 37)
    for first, last in ((0, 2), (2, 12)):
        turn(index)  # by the second one there is a graph
        for target in (index, model):
            target.add(names(first, last), rows[first:last], [1] * (last - first))
    steps: list[tuple[int, Callable[[Searchable | Model], None]]] = [
        (before, lambda target: target.remove(["r3", "r7"])),
        (after, lambda target: target.add(["r20", "r5", "r21"], unit_rows(3, DIM, 38), [7, 7, 7])),
        (1, lambda target: target.remove(["r20"])),
    ]
    for turns, change in steps:
        for _ in range(turns):
            if tells:
                index.last_search()
            for _again in range(2):  # as after a failure of the store
                check(index, model, rows, 20, 1)
            turn(index)
        for target in (index, model):
            change(target)
        check(index, model, rows, 20, 1)


def test_everything_can_be_removed_and_come_back(index: Searchable) -> None:
    rows = unit_rows(200, DIM, 14)
    for _ in range(3):
        fill(index, rows)
        index.remove(names(0, 200))
        assert len(index) == 0
        assert [list(ids) for ids in look(index, rows[:2], 5)[0]] == [[], []]
    model = Model()
    fill(index, rows)
    fill(model, rows)
    check(index, model, unit_rows(50, DIM, 15), 10, 0.95)


def test_months_of_replacing_do_not_wear_it_out(index: Searchable) -> None:
    model, rows = Model(), unit_rows(500, DIM, 16)
    for target in (index, model):
        fill(target, rows)
    for turn in range(30):
        fresh = unit_rows(100, DIM, 100 + turn)
        ids = names(turn * 13 % 400, turn * 13 % 400 + 100)
        for target in (index, model):
            target.remove(ids[:50])
            target.add(ids, fresh, [1] * 100)
    assert len(index) == len(model.rows)
    check(index, model, unit_rows(100, DIM, 17), 10, 0.95)
    itself, _ = look(index, np.stack([v for v, _ in model.rows.values()]), 1)
    reached = sum(list(ids) == [r] for ids, r in zip(itself, model.rows, strict=True))
    assert reached >= 0.98 * len(model.rows)


def test_it_grows_far_beyond_where_it_began(index: Searchable) -> None:
    rows = unit_rows(5000, DIM, 18)
    fill(index, rows, batch=1)
    assert len(index) == 5000
    vectors, masks = index.vectors(["r4999", "r0", "r2500"])
    assert np.array_equal(vectors, rows[[4999, 0, 2500]])
    assert list(masks) == [4999 % 32, 0, 2500 % 32]


def test_one_batch_may_be_larger_than_the_index(index: Searchable) -> None:
    fill(index, unit_rows(3000, DIM, 19), batch=3000)
    assert len(index) == 3000


@pytest.mark.parametrize("size", [1, 5, 49, 51, 300])
def test_asking_for_more_than_there_are_gives_them_all(index: Searchable, size: int) -> None:
    fill(index, unit_rows(size, DIM, 20))
    found, scores = look(index, unit_rows(5, DIM, 21), 1000)
    assert [sorted(ids) for ids in found] == [sorted(names(0, size))] * 5
    assert [len(row) for row in scores] == [size] * 5


def test_masks_and_vectors_come_back_in_the_order_asked(index: Searchable) -> None:
    rows = unit_rows(70, DIM, 22)
    fill(index, rows)
    vectors, masks = index.vectors(["r69", "r0", "r33", "r0"])
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, rows[[69, 0, 33, 0]])
    assert list(masks) == [69 % 32, 0, 1, 0]


def test_the_newest_are_those_that_came_last(index: Searchable) -> None:
    vectors = unit_rows(80, DIM, seed=4)
    index.add([f"r{i}" for i in range(80)], vectors, [1] * 80)
    index.remove(["r79"])
    index.add(["r3"], vectors[3:4], [1])
    assert sorted(index.newest(3).tolist()) == sorted(vectors[[77, 78, 3]].tolist())
    assert len(index.newest(1_000)) == 79
    index.remove([f"r{i}" for i in range(80)])
    assert index.newest(3).shape == (0, DIM)


def test_promotion_loses_nothing() -> None:
    index, rows = GrowingIndex(DIM, 100, OPTIONS), unit_rows(100, DIM, 23)
    fill(index, rows)
    index.remove(["r3"])
    before = look(index, rows, 5)
    index.add(["r3", "last"], unit_rows(2, DIM, 24), [4, 5])
    assert len(index) == 101
    index.remove(["r3", "last"])
    after = look(index, rows, 5)
    assert [list(ids) for ids in after[0]] == [list(ids) for ids in before[0]]
    assert list(index.vectors(["r99"])[1]) == [99 % 32]


# Saving, which only GrowingIndex does.


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
            with pytest.raises((OSError, ValueError, KeyError, RuntimeError)):
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


# Random lives.


class LifeOfAnIndex(RuleBasedStateMachine):
    """Adds, replacements, removals and reloads in any order, compared with the model after each."""

    index: Searchable
    saved: tuple[TemporaryDirectory[str], Saving, Model] | None = None
    """A folder, what is left to do there, and what should be in it."""

    @initialize(which=st.sampled_from(sorted(MAKERS)))
    def make(self, which: str) -> None:
        self.which = which
        self.index = GrowingIndex(DIM, 6, OPTIONS) if which == "growing, promoted on the way" else MAKERS[which]()
        self.model = Model()
        self.seed = 0

    @rule(numbers=st.lists(st.integers(0, 15), min_size=1, max_size=6, unique=True))
    def add(self, numbers: list[int]) -> None:
        self.seed += 1
        rows, masks = unit_rows(len(numbers), DIM, self.seed), [n + self.seed for n in numbers]
        for target in (self.index, self.model):
            target.add([f"r{n}" for n in numbers], rows, masks)

    @rule(numbers=st.lists(st.integers(0, 15), max_size=8))
    def remove(self, numbers: list[int]) -> None:
        for target in (self.index, self.model):
            target.remove([f"r{n}" for n in numbers])

    @rule()
    def turn(self) -> None:
        turn(self.index)

    @precondition(lambda self: isinstance(self.index, GrowingIndex | HnswIndex))
    @rule()
    def last_search(self) -> None:
        assert isinstance(self.index, GrowingIndex | HnswIndex)
        self.index.last_search()  # and yet others follow, as after a failure of the store

    @precondition(lambda self: isinstance(self.index, GrowingIndex) and self.saved is None)
    @rule()
    def begin_to_save(self) -> None:
        assert isinstance(self.index, GrowingIndex)
        folder = TemporaryDirectory()
        saving = self.index.save(Path(folder.name))
        for call in saving.frozen:
            call()
        self.saved = (folder, saving, deepcopy(self.model))

    @precondition(lambda self: self.saved is not None)
    @rule()
    def what_came_since_is_not_in_it(self) -> None:
        assert self.saved is not None
        (folder, saving, model), self.saved = self.saved, None
        for call in saving.beside:
            call()
        with folder:
            self._compare(GrowingIndex.load(Path(folder.name), DIM, 6, OPTIONS), model)

    @precondition(lambda self: isinstance(self.index, GrowingIndex))
    @rule()
    def reload(self) -> None:
        assert isinstance(self.index, GrowingIndex)
        with TemporaryDirectory() as folder:
            self.index.save(Path(folder)).finish()
            self.index = GrowingIndex.load(Path(folder), DIM, 6, OPTIONS)

    @invariant()
    def the_same_as_the_model(self) -> None:
        if hasattr(self, "model"):
            self._compare(self.index, self.model)

    def teardown(self) -> None:
        if self.saved is not None:
            self.saved[0].cleanup()

    def _compare(self, index: Searchable, model: Model) -> None:
        ids = list(model.rows)
        assert len(index) == len(ids)
        assert {f"r{n}" for n in range(16) if f"r{n}" in index} == set(ids)
        vectors, masks = index.vectors(ids)
        assert list(masks) == [mask for _, mask in model.rows.values()]
        if ids:
            assert np.array_equal(vectors, np.stack([v for v, _ in model.rows.values()]))
        check(index, model, unit_rows(2, DIM, 1000 + self.seed), 20, 1)


TestLifeOfAnIndex = LifeOfAnIndex.TestCase
TestLifeOfAnIndex.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


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


def test_a_disk_without_room_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    index = GrowingIndex(DIM, 0, OPTIONS)
    index.add(["r0"], unit_rows(1, DIM, 36), [1])
    with pytest.raises(SettingsError, match=r"no room for .* bytes of an index \(No space left on device\)"):
        index.turn_to(0)
