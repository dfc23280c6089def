"""What every VectorIndex promises, over each of them; a plain Python model is the oracle."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.adapters.exact_index import ExactIndex
from consumer.adapters.growing_index import GrowingIndex
from consumer.adapters.hnsw_index import HnswIndex
from consumer.adapters.projection import Projection
from consumer.ports import Saving
from tests.factories import unit_rows
from tests.indexes import DIM, OPTIONS, Model, Searchable, check, fill, look, names, turn

Maker = Callable[[], Searchable]
MAKERS: dict[str, Maker] = {
    "exact": lambda: ExactIndex(DIM),
    "hnsw": lambda: HnswIndex(DIM, OPTIONS, Projection(None)),
    "growing, still exact": lambda: GrowingIndex(DIM, 100_000, OPTIONS),
    "growing, promoted on the way": lambda: GrowingIndex(DIM, 50, OPTIONS),
    "growing, never exact": lambda: GrowingIndex(DIM, 0, OPTIONS),
}
EXACT = {"exact", "growing, still exact"}


@pytest.fixture(params=MAKERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(kind: str) -> Searchable:
    return MAKERS[kind]()


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
    for month in range(30):
        fresh = unit_rows(100, DIM, 100 + month)
        ids = names(month * 13 % 400, month * 13 % 400 + 100)
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
